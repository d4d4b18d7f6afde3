package doctor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// consentRedirect is the redirect URI of the client that doctor registers. Nothing listens there.
const consentRedirect = "http://127.0.0.1/callback"

// consent does what a client and a browser do until a person has to decide: it registers a client, which the issuer
// does not store, sends its request, and reads the page with its cookie.
func (a *authorityChecks) consent(ctx context.Context) diagnostics.Outcome {
	m := a.documents[0].Metadata
	if m.RegistrationEndpoint == "" {
		return diagnostics.Skipped("the metadata names no registration_endpoint")
	}
	registration, err := json.Marshal(map[string]any{"client_name": "gatehouse doctor",
		"redirect_uris": []string{consentRedirect}, "token_endpoint_auth_method": "none"})
	if err != nil {
		return diagnostics.Failed("the registration cannot be written", seeLog)
	}
	r, err := a.network.request(ctx, http.MethodPost, m.RegistrationEndpoint, string(registration),
		map[string]string{"Content-Type": "application/json", "Accept": "application/json"})
	var client struct {
		ID string `json:"client_id"`
	}
	switch {
	case err != nil:
		return diagnostics.Failed("the registration endpoint does not answer: "+err.Error(), seeLog)
	case r.status == http.StatusTooManyRequests:
		return diagnostics.Warning("429: too many requests came from this address recently", "run this command again in a "+
			"minute")
	case r.status != http.StatusCreated || json.Unmarshal(r.body, &client) != nil || client.ID == "":
		return diagnostics.Failed("a registration gets "+describe(r),
			forwardUnchanged("POST "+a.relative(m.RegistrationEndpoint)))
	}
	challenge := sha256.Sum256([]byte(rand.Text() + rand.Text()))
	query := url.Values{
		"response_type": {"code"}, "client_id": {client.ID}, "redirect_uri": {consentRedirect}, "state": {rand.Text()},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"}, "resource": {a.Settings.Resource.String()},
	}
	return a.authorizationRequest(ctx, m.AuthorizationEndpoint, query)
}

func (a *authorityChecks) authorizationRequest(
	ctx context.Context, endpoint string, query url.Values,
) diagnostics.Outcome {
	path := a.relative(endpoint)
	r, err := a.network.request(ctx, http.MethodGet, endpoint+"?"+query.Encode(), "", nil)
	if err != nil {
		return diagnostics.Failed("the authorization endpoint does not answer: "+err.Error(), seeLog)
	}
	target, err := url.Parse(r.header.Get("Location"))
	if err != nil || r.header.Get("Location") == "" {
		return diagnostics.Failed("a request of a registered client gets "+describe(r), forwardUnchanged("GET "+path)+
			"; its URL has about "+strconv.Itoa((len(query.Encode())+99)/100*100)+" characters, which the proxy must allow")
	}
	base, err := url.Parse(endpoint)
	if err != nil {
		return diagnostics.Failed("the authorization endpoint is not a URL", seeLog)
	}
	page := base.ResolveReference(target)
	if page.Host == "127.0.0.1" && page.Port() == "" && page.Path == "/callback" {
		return diagnostics.Failed("a request of a registered client is refused with "+
			providers.Quote(page.Query().Get("error")), "start the server with this configuration; its log has the reason")
	}
	if page.Scheme != base.Scheme || page.Host != base.Host {
		return diagnostics.Failed("a request of a registered client is redirected to "+providers.Quote(page.Host),
			forwardUnchanged("GET "+path)+", without a sign-in of its own")
	}
	r, err = a.network.request(ctx, http.MethodGet, page.String(), "", map[string]string{"Accept": "text/html"})
	if err != nil {
		return diagnostics.Failed("the page does not arrive: "+err.Error(), seeLog)
	}
	return consentPage(r, page)
}

// consentPage checks the page at address. Without its cookie no person can approve; without its policy, another page
// could show it in a frame and have people click unawares.
func consentPage(r response, address *url.URL) diagnostics.Outcome {
	fix := forwardUnchanged("GET " + address.Path)
	if r.status != http.StatusOK || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
		return diagnostics.Failed("the page gets "+describe(r), fix)
	}
	if !strings.Contains(r.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		return diagnostics.Failed("the page arrives without its Content-Security-Policy", fix)
	}
	found := "without its cookie, so that no person can approve"
	for _, c := range (&http.Response{Header: r.header}).Cookies() { // load balancers add cookies of their own
		problem := cookieProblem(c, address.Scheme == "https")
		if problem == "" {
			return diagnostics.OK("a client was registered, which stores nothing, and the page has its cookie")
		}
		found = "with a cookie " + problem
	}
	return diagnostics.Failed("the page arrives "+found, fix+"; the proxy must not change Set-Cookie")
}

// cookieProblem returns why browsers would not keep a cookie for the host alone, or "".
func cookieProblem(c *http.Cookie, isHTTPS bool) string {
	switch {
	case c.Domain != "":
		return "that has a Domain: other hosts could replace it"
	case c.Path != "/":
		return "that has another Path"
	case !c.HttpOnly:
		return "that is not HttpOnly"
	case c.SameSite != http.SameSiteLaxMode:
		return "that is not SameSite=Lax"
	case isHTTPS && (!c.Secure || !strings.HasPrefix(c.Name, "__Host-")):
		return "that is not Secure with a name of __Host-: pages on other hosts could set it"
	}
	return ""
}

// forwardUnchanged is the fix if something in front has changed a request or its response.
func forwardUnchanged(request string) string {
	return "have the proxy in front forward " + request + " to this server, and leave the response as it is"
}
