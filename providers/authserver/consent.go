package authserver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver/seal"
)

// consentGuard binds the form of a consent page to the browser that the page was sent to, so that another
// site cannot approve on behalf of the user (RFC 9700, section 2.1; RFC 6819, section 4.4.1.8).
type consentGuard struct {
	keys    *seal.Keys
	origin  *http.CrossOriginProtection
	values  datedIDs // of cookies
	cookies cookies
	// afterAnswer is how long the cookie stays valid after an answer; 0 means that an answer does not change it.
	afterAnswer time.Duration
}

func newConsentGuard(issuer string, keys *seal.Keys) (*consentGuard, error) {
	origin := http.NewCrossOriginProtection()
	// Behind a proxy that changes Host the own origin must be known. Browsers omit the default port in
	// Origin, whether the issuer contains it or not.
	for _, trusted := range []string{issuer, strings.TrimSuffix(canonicalURL(issuer), "/")} {
		if err := origin.AddTrustedOrigin(trusted); err != nil {
			return nil, err
		}
	}
	return &consentGuard{keys: keys, origin: origin, values: datedIDs{keys, "consent"}}, nil
}

// forDemo is for requests in memory: only the first answer counts.
func (g *consentGuard) forDemo(issuer string) {
	g.afterAnswer = repeatLifetime
	g.cookies = cookies{prefix: "consent_", suffix: func(id string) string { return id }, path: consentPath,
		secure: isHTTPS(issuer), sameSite: http.SameSiteStrictMode}
}

// maxConsentCookies bounds the consent cookies of a browser, which it sends with every request. Each has about 120
// bytes. The page of an older one cannot be answered any more.
const maxConsentCookies = 8

// forProvider is for sealed requests: a page may be answered again, such as after the back button.
func (g *consentGuard) forProvider(issuer string) {
	g.cookies = hostCookies("consent", isHTTPS(issuer))
	g.cookies.count, g.cookies.bytes = maxConsentCookies, maxConsentCookies*200
	g.cookies.issuedAt = func(_, value string) (time.Time, bool) { return g.values.issuedAt(value) }
}

// issue returns the form token for this browser and request, and sets its cookie. Each request has its own
// cookie, or two tabs would overwrite each other's: a browser that comes from another site does not send a
// SameSite=Strict cookie and gets a new one.
func (g *consentGuard) issue(w http.ResponseWriter, r *http.Request, now time.Time, id string) (token string) {
	value, ok := g.sent(r, id)
	if !ok {
		value = g.values.issue(now)
	}
	g.cookies.set(w, r, id, value, requestLifetime)
	return hex.EncodeToString(g.keys.MAC(seal.Form, formMessage(value, id)))
}

func (g *consentGuard) check(r *http.Request, id, token string) bool {
	sum, err := hex.DecodeString(token)
	value, ok := g.sent(r, id)
	return err == nil && len(sum) == sha256.Size && ok && g.origin.Check(r) == nil &&
		g.keys.CheckMAC(seal.Form, formMessage(value, id), sum)
}

// sent returns the cookie of the browser, if this server has issued it: on http, another server at this host could
// have set it.
func (g *consentGuard) sent(r *http.Request, id string) (value string, ok bool) {
	value, ok = g.cookies.sent(r, id)
	if ok {
		_, ok = g.values.issuedAt(value)
	}
	return value, ok
}

// answered shortens the life of the cookie to the time in which the answer can be repeated.
func (g *consentGuard) answered(w http.ResponseWriter, r *http.Request, id string) {
	if value, ok := g.sent(r, id); ok && g.afterAnswer > 0 {
		g.cookies.set(w, r, id, value, g.afterAnswer)
	}
}

func formMessage(cookie, id string) string { return "form\n" + cookie + "." + id }

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
	People           []Person
	Chosen           string

	// For people of another provider.
	ClaimedName string // the client's name, with escapes
	Next        string // the host at which they sign in; empty if it is not known
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
		RedirectHost:   redirectHost(a.redirectURI),
		Warning:        i.consentWarning(a),
		People:         i.signIn.Choices(),
		ClaimedName:    claimedName(a.client.name),
		Next:           i.nextHost,
	}
	chosen, granted := i.choosePerson(a)
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

// redirectHost says where a redirect to uri leads.
func redirectHost(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return ""
	case u.Scheme != "https" && u.Scheme != "http":
		return "the app on this device that handles " + u.Scheme + ": links"
	}
	return u.Host
}

// maxClaimedName bounds the name of a client on the page, in bytes after escaping.
const maxClaimedName = 120

// claimedName returns a client's name for the page. Characters that are not visible are escaped: some could reorder
// or hide the text around them.
func claimedName(name string) string {
	if shown := providers.Printable(name, maxClaimedName); len(name) <= maxClaimedName {
		return shown
	}
	return providers.Printable(strings.ToValidUTF8(name[:maxClaimedName], ""), maxClaimedName) + "…"
}

// choosePerson returns the person that the page proposes, and the scopes that this person has already granted to the
// client. The issuer has no sessions: it is the person that the request names, the one who was the last to authorize
// the client, or the first.
func (i *Issuer) choosePerson(a *authorization) (chosen Person, granted []string) {
	people := i.signIn.Choices()
	if len(people) == 0 {
		return Person{}, nil
	}
	var latest time.Time
	chosen, isNamed := findPerson(people, a.loginHint)
	if !isNamed {
		chosen = people[0]
	}
	for _, candidate := range people {
		if isNamed && candidate.Subject != chosen.Subject {
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
func (i *Issuer) consentWarning(a *authorization) string {
	u, err := url.Parse(a.redirectURI)
	switch {
	case a.client.origin == unregistered: // its valid redirect URIs are loopback
		return "This client has not registered since the issuer started, and may never have; its name is not verified. " +
			i.wording.loopback
	case err == nil && isLoopback(u.Hostname()):
		return i.wording.loopback
	}
	return ""
}

// displayClientID shortens an id that contains a registration to its prefix and digest: the page shows the
// registration itself.
func displayClientID(id string) string {
	if strings.HasPrefix(id, clientIDPrefix) {
		return clientIDPrefix + "…" + id[strings.LastIndex(id, "."):]
	}
	short, _ := shortenSealedID(id)
	return short
}

// showConsent is the page on which a person approves or denies a request.
func (i *Issuer) showConsent(w http.ResponseWriter, r *http.Request) {
	now, id := i.config.Now(), r.URL.Query().Get("request")
	a, err := i.requests.show(now, id)
	if err != nil {
		i.explainEnded(w, r, err)
		return
	}
	view := i.newConsentView(a)
	view.RequestID, view.Token = id, i.guard.issue(w, r, now, id)
	i.pages.render(w, http.StatusOK, i.wording.consent, "Sign in", view, a.redirectURI)
}

// explainEnded shows the page of an [*endedError].
func (i *Issuer) explainEnded(w http.ResponseWriter, r *http.Request, err error) {
	ended := new(endedError)
	if !errors.As(err, &ended) {
		i.config.Logger.ErrorContext(r.Context(), "authorization response", slog.Any("error", err))
		i.pages.problem(w, http.StatusInternalServerError, "Internal error.")
		return
	}
	i.pages.explain(w, ended.status, ended.problem)
}

// decideConsent handles the form. A redirect of its response is a 303, so that the browser continues with GET; after a
// 307 it would post the form to the client (RFC 9700, section 4.12).
func (i *Issuer) decideConsent(w http.ResponseWriter, r *http.Request) {
	if err := readForm(w, r); err != nil {
		i.pages.problem(w, http.StatusBadRequest, "The form is incomplete.")
		return
	}
	now, id := i.config.Now(), r.PostForm.Get("request")
	if err := i.requests.check(now, id); err != nil {
		i.explainEnded(w, r, err)
		return
	}
	if !i.guard.check(r, id, r.PostForm.Get("token")) {
		i.config.Logger.InfoContext(r.Context(), "consent form of another browser refused",
			slog.String("reason", string(ReasonForeignBrowser)))
		i.pages.problem(w, http.StatusForbidden,
			"The form was not sent from the page of this browser. Start again in the application.")
		return
	}
	given, complete := i.readAnswer(r.PostForm)
	if !complete {
		i.pages.problem(w, http.StatusBadRequest, "The form is incomplete.")
		return
	}
	var request *authorization
	done, err := i.requests.decide(now, id, given, func(a *authorization, given answer) (answer, error) {
		request = a
		return i.respond(w, r, a, given)
	})
	if failed := new(SignInError); errors.As(err, &failed) {
		i.fail(w, r, request, failed)
		return
	}
	if err != nil {
		i.explainEnded(w, r, err)
		return
	}
	i.guard.answered(w, r, id)
	if i.isSpent(r.Context(), done.code) {
		// Another redirect would send a used code, which revokes what was issued for it.
		i.pages.explain(w, http.StatusOK, problem{signedInTitle, "The application has received your approval. " +
			"You can close this page and return to it."})
		return
	}
	i.departure.depart(w, r, http.StatusSeeOther, done.next)
}

// readAnswer returns the answer in a form. It is incomplete without a decision, or if it approves as none of the people
// that the page offers.
func (i *Issuer) readAnswer(form url.Values) (given answer, complete bool) {
	given.decision = decision(form.Get("decision"))
	people := i.signIn.Choices()
	known := len(people) == 0
	if chosen, ok := findPerson(people, form.Get("person")); ok {
		given.choice, known = chosen.Subject, true
	}
	return given, given.decision == deny || given.decision == approve && known
}

// respond completes an answer with where the browser goes: to the client, or to where the person signs in. The error is
// a [*SignInError] or that of approve.
func (i *Issuer) respond(w http.ResponseWriter, r *http.Request, a *authorization, given answer) (answer, error) {
	ctx := r.Context()
	i.recordDecision(ctx, a, given.decision)
	if given.decision == deny {
		target, err := i.deny(a)
		given.next = toClient(a, "Denied", target)
		return given, err
	}
	now := i.config.Now()
	attempt := i.transactions.attempt(now)
	attempt.Choice, attempt.LoginHint = given.choice, a.loginHint
	who, address, err := i.signIn.Begin(ctx, attempt)
	switch {
	case err != nil:
		return given, err
	case who != nil:
		var target string
		given.code, target, err = i.signedIn(ctx, a, *who, "")
		given.next = toClient(a, signedInTitle, target)
		return given, err
	}
	i.transactions.start(w, r, now, attempt, a)
	given.next = toProvider(address)
	return given, nil
}
