package authserver

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

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
