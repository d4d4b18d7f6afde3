package authserver

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
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

// keep shortens the life of the cookie to the time in which the answer can be repeated.
func (g *consentGuard) keep(w http.ResponseWriter, r *http.Request, id string) {
	sent, err := r.Cookie(g.cookie(id, "").Name)
	if err != nil {
		return
	}
	cookie := g.cookie(id, sent.Value)
	cookie.MaxAge = int(repeatLifetime.Seconds())
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
	Warning          string
	Resource         string
	Scopes           []scopeView
	GrantedBy        string // the user who has granted the scopes that are not new; empty for a first sign-in
	RedirectHost     string
	People           []user
	Chosen           string
}

type scopeView struct {
	Name, Meaning string
	New           bool // at a step-up
}

func (i *Issuer) newConsentView(a *authorization) consentView {
	v := consentView{
		ClientName:     a.client.name,
		ClientID:       displayClientID(a.client.id),
		DocumentHost:   a.client.host(),
		SelfRegistered: a.client.origin == dynamic,
		Resource:       a.resource,
		People:         users(),
	}
	if u, err := url.Parse(a.redirectURI); err == nil {
		v.RedirectHost = u.Host
		if u.Scheme != "https" && u.Scheme != "http" {
			v.RedirectHost = "the app on this device that handles " + u.Scheme + ": links"
		}
		v.Warning = consentWarning(a.client, isLoopback(u.Hostname()))
	}
	chosen, granted := i.chooseUser(a)
	v.Chosen = chosen.Subject
	if granted != nil {
		v.GrantedBy = chosen.Name
	}
	for _, scope := range a.scopes {
		isNew := granted != nil && !slices.Contains(granted, scope)
		v.Scopes = append(v.Scopes, scopeView{scope, i.describeScope(scope), isNew})
	}
	slices.SortStableFunc(v.Scopes, func(a, b scopeView) int {
		switch {
		case a.New == b.New:
			return 0
		case a.New:
			return -1
		}
		return 1
	})
	return v
}

// chooseUser returns the user that the page proposes, and the scopes that this user has already granted to the
// client. The issuer has no sessions: it is the user that the request names, the one who was the last to authorize
// the client, or the first.
func (i *Issuer) chooseUser(a *authorization) (chosen user, granted []string) {
	var latest time.Time
	chosen, isNamed := findUser(a.loginHint)
	for _, candidate := range users() {
		if isNamed && candidate != chosen {
			continue
		}
		scopes, at := i.consents.of(i.config.Now(), a.client.id, candidate.Subject, a.resource)
		if at.After(latest) {
			chosen, granted, latest = candidate, scopes, at
		}
	}
	return chosen, granted
}

// consentWarning returns the most important warning: users do not read several.
func consentWarning(c *client, toLoopback bool) string {
	const local = "The redirect goes to this computer, and any program on it could receive the response. " +
		"Approve only if you have just started the sign-in yourself."
	switch {
	case c.origin == unregistered: // its valid redirect URIs are loopback
		return "This client has not registered since the issuer started, and may never have; its name is not verified. " +
			local
	case toLoopback:
		return local
	}
	return ""
}

// displayClientID shortens an id that contains a registration to its prefix and digest: the page shows the
// registration itself.
func displayClientID(id string) string {
	if strings.HasPrefix(id, clientIDPrefix) {
		return clientIDPrefix + "…" + id[strings.LastIndex(id, "."):]
	}
	return id
}

// showConsent is the page on which the user approves or denies a request, as alice or bob.
func (i *Issuer) showConsent(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("request")
	a, ok := i.store.showRequest(i.config.Now(), id)
	if !ok {
		i.pages.explain(w, http.StatusBadRequest, i.ended(id))
		return
	}
	view := i.newConsentView(a)
	view.RequestID, view.Token = id, i.guard.issue(w, r, id)
	i.pages.render(w, http.StatusOK, "consent.html", "Sign in", view, a.redirectURI)
}

// ended says why a request cannot be answered anymore, or never could.
func (i *Issuer) ended(id string) problem {
	const again = " Start the sign-in again in the application."
	if done, ok := i.store.answered(i.config.Now(), id); ok {
		verb := "approved"
		if done.decision == deny {
			verb = "denied"
		}
		return problem{"Already " + verb, "This request was already answered: you have " + verb + " it. " +
			"Return to the application. If it is still waiting, start the sign-in again there."}
	}
	issued, ok := i.store.ids.issuedAt(id)
	switch {
	case !ok:
		return problem{"Sign-in interrupted", "The issuer has restarted since this page was opened, " +
			"or the address of the page is incomplete." + again}
	case !i.config.Now().Before(issued.Add(requestLifetime)):
		return problem{"Sign-in expired", "This page can be answered for 10 minutes, which have passed." + again}
	}
	return problem{"Sign-in removed", "Too many sign-ins were open at the same time, and this one was removed." + again}
}

// decideConsent handles the form. The response is 303, so that the browser continues with GET; after a 307 it
// would post the form to the client (RFC 9700, section 4.12).
func (i *Issuer) decideConsent(w http.ResponseWriter, r *http.Request) {
	if err := readForm(w, r); err != nil {
		i.pages.problem(w, http.StatusBadRequest, "The form is incomplete.")
		return
	}
	now, id := i.config.Now(), r.PostForm.Get("request")
	if !i.store.isOpen(now, id) {
		i.pages.explain(w, http.StatusBadRequest, i.ended(id))
		return
	}
	if !i.guard.check(r, id, r.PostForm.Get("token")) {
		i.pages.problem(w, http.StatusForbidden,
			"The form was not sent from the page of this browser. Start again in the application.")
		return
	}
	who, known := findUser(r.PostForm.Get("person"))
	d := decision(r.PostForm.Get("decision"))
	if d != deny && (d != approve || !known) {
		i.pages.problem(w, http.StatusBadRequest, "The form is incomplete.")
		return
	}
	done, err := i.store.decide(now, id, answer{decision: d, subject: who.Subject},
		func(a *authorization, given answer) (answer, error) { return i.respond(r.Context(), a, given) })
	switch {
	case errors.Is(err, errNotPending):
		i.pages.explain(w, http.StatusBadRequest, i.ended(id))
		return
	case err != nil:
		i.config.Logger.ErrorContext(r.Context(), "authorization response", slog.Any("error", err))
		i.pages.problem(w, http.StatusInternalServerError, "Internal error.")
		return
	}
	i.guard.keep(w, r, id)
	if i.isSpent(r.Context(), done.code) {
		// Another redirect would send a used code, which revokes what was issued for it.
		i.pages.explain(w, http.StatusOK, problem{"Signed in", "The application has received your approval. " +
			"You can close this page and return to it."})
		return
	}
	redirect(w, http.StatusSeeOther, done.target)
}

// respond completes an answer with the redirect to the client.
func (i *Issuer) respond(ctx context.Context, a *authorization, given answer) (answer, error) {
	var err error
	if given.decision == deny {
		given.target, err = i.deny(a)
		return given, err
	}
	who, _ := findUser(given.subject)
	given.code, given.target, err = i.approve(ctx, a, who.person(), "")
	return given, err
}
