package authserver

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// consentGuard binds the form of a consent page to the browser that the page was sent to, so that another
// site cannot approve on behalf of the user (RFC 9700, section 2.1; RFC 6819, section 4.4.1.8).
type consentGuard struct {
	key    []byte
	origin *http.CrossOriginProtection
	secure bool
}

func newConsentGuard(issuer string) (*consentGuard, error) {
	origin := http.NewCrossOriginProtection()
	// Behind a proxy that changes Host the own origin must be known. Browsers omit the default port in
	// Origin, whether the issuer contains it or not.
	for _, trusted := range []string{issuer, strings.TrimSuffix(canonicalURL(issuer), "/")} {
		if err := origin.AddTrustedOrigin(trusted); err != nil {
			return nil, err
		}
	}
	return &consentGuard{key: []byte(rand.Text()), origin: origin,
		secure: strings.HasPrefix(issuer, "https://")}, nil
}

// issue returns the form token for this browser and request, and sets its cookie. Each request has its own
// cookie, or two tabs would overwrite each other's: a browser that comes from another site does not send a
// SameSite=Strict cookie and gets a new one.
func (g *consentGuard) issue(w http.ResponseWriter, r *http.Request, id string) (token string) {
	cookie := g.cookie(id, rand.Text())
	if sent, err := r.Cookie(cookie.Name); err == nil && sent.Value != "" {
		cookie.Value = sent.Value
	}
	http.SetCookie(w, cookie)
	return g.token(cookie.Value, id)
}

func (g *consentGuard) check(r *http.Request, id, token string) bool {
	cookie, err := r.Cookie(g.cookie(id, "").Name)
	return err == nil && g.origin.Check(r) == nil && hmac.Equal([]byte(token), []byte(g.token(cookie.Value, id)))
}

func (g *consentGuard) clear(w http.ResponseWriter, id string) {
	cookie := g.cookie(id, "")
	cookie.MaxAge = -1
	http.SetCookie(w, cookie)
}

func (g *consentGuard) cookie(id, value string) *http.Cookie {
	return &http.Cookie{
		Name:     "consent_" + id,
		Value:    value,
		Path:     consentPath,
		MaxAge:   int(requestLifetime.Seconds()),
		HttpOnly: true,
		Secure:   g.secure,
		SameSite: http.SameSiteStrictMode,
	}
}

func (g *consentGuard) token(cookie, id string) string {
	mac := hmac.New(sha256.New, g.key)
	mac.Write([]byte(cookie + "." + id))
	return hex.EncodeToString(mac.Sum(nil))
}

// consentView is the data of the consent page.
type consentView struct {
	RequestID, Token string
	ClientName       string
	ClientID         string
	DocumentHost     string // of a client ID metadata document
	SelfRegistered   bool
	Unregistered     bool
	Resource         string
	Scopes           []scopeView
	RedirectHost     string
	RedirectLoopback bool
	People           []user
	Chosen           string
}

type scopeView struct{ Name, Meaning string }

func newConsentView(a *authorization) consentView {
	chosen, _ := findUser(a.loginHint)
	v := consentView{
		ClientName:     a.client.name,
		ClientID:       displayClientID(a.client.id),
		DocumentHost:   a.client.host(),
		SelfRegistered: a.client.origin == dynamic,
		Unregistered:   a.client.origin == unregistered,
		Resource:       a.resource,
		People:         users(),
		Chosen:         chosen.Subject,
	}
	for _, scope := range a.scopes {
		v.Scopes = append(v.Scopes, scopeView{scope, scopeMeaning(scope)})
	}
	if u, err := url.Parse(a.redirectURI); err == nil {
		v.RedirectHost, v.RedirectLoopback = u.Host, isLoopback(u.Hostname())
		if u.Scheme != "https" && u.Scheme != "http" {
			v.RedirectHost = "the app on this device that handles " + u.Scheme + ": links"
		}
	}
	return v
}

// displayClientID shortens an id that contains a registration to its prefix and digest: the page shows the
// registration itself.
func displayClientID(id string) string {
	if strings.HasPrefix(id, clientIDPrefix) {
		return clientIDPrefix + "…" + id[strings.LastIndex(id, "."):]
	}
	return id
}

func scopeMeaning(scope string) string {
	switch scope {
	case oidc.ScopeOpenID:
		return "identify you"
	case oidc.ScopeOfflineAccess:
		return "keep access while you are not present"
	}
	return ""
}

const requestGoneText = "This sign-in has expired or was already answered. Start again in the application."

// showConsent is the page on which the user approves or denies a request, as alice or bob.
func (i *Issuer) showConsent(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("request")
	a, ok := i.store.showRequest(i.config.Now(), id)
	if !ok {
		i.pages.problem(w, http.StatusBadRequest, requestGoneText)
		return
	}
	view := newConsentView(a)
	view.RequestID, view.Token = id, i.guard.issue(w, r, id)
	i.pages.render(w, http.StatusOK, "consent.html", view, a.redirectURI)
}

// decideConsent handles the form. The response is 303, so that the browser continues with GET; after a 307 it
// would post the form to the client (RFC 9700, section 4.12).
func (i *Issuer) decideConsent(w http.ResponseWriter, r *http.Request) {
	if err := readForm(w, r); err != nil {
		i.pages.problem(w, http.StatusBadRequest, "The form is incomplete.")
		return
	}
	id, decision := r.PostForm.Get("request"), r.PostForm.Get("decision")
	if !i.guard.check(r, id, r.PostForm.Get("token")) {
		i.pages.problem(w, http.StatusForbidden,
			"The form was not sent from the page of this browser. Start again in the application.")
		return
	}
	who, known := findUser(r.PostForm.Get("person"))
	if decision != "deny" && (decision != "approve" || !known) {
		i.pages.problem(w, http.StatusBadRequest, "The form is incomplete.")
		return
	}
	a, ok := i.store.takeRequest(i.config.Now(), id)
	if !ok {
		i.pages.problem(w, http.StatusBadRequest, requestGoneText)
		return
	}
	target, err := i.deny(a)
	if decision == "approve" {
		target, err = i.approve(a, who)
	}
	if err != nil {
		i.config.Logger.ErrorContext(r.Context(), "authorization response", slog.Any("error", err))
		i.pages.problem(w, http.StatusInternalServerError, "Internal error.")
		return
	}
	i.guard.clear(w, id)
	redirect(w, http.StatusSeeOther, target)
}
