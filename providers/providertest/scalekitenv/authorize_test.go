package scalekitenv_test

import (
	"net/http"
	"net/url"
	"testing"

	"gatehouse/providers/providertest/scalekitenv"
)

func TestUserIsSentBackAtOnce(t *testing.T) {
	h := open(t)
	client := h.Register("http://127.0.0.1:7777/callback?keep=1", callback)
	target, q := h.authorize(client.ID).location(t)
	if target != callback || q.Get("code") == "" || q.Get("state") != "st/ate&1" || q.Get("iss") != h.AuthorizationServer() || len(q) != 3 {
		t.Errorf("%s %v", target, q)
	}
	_, q = h.authorize(client.ID, "redirect_uri", callback+"?keep=1").location(t)
	if q.Get("keep") != "1" || q.Get("code") == "" {
		t.Errorf("%v", q)
	}
}

func TestResponsesNameTheIssuerOfTheMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*house)
		path   string
		want   func(*house) string
	}{
		"of the resource":         {func(*house) {}, "/resources/R/oauth/authorize", func(h *house) string { return h.AuthorizationServer() }},
		"of the resource, of old": {func(h *house) { h.ChangeMetadata(changes{"issuer": h.URL()}) }, "/resources/R/oauth/authorize", func(h *house) string { return h.URL() }},
		"of the environment":      {func(*house) {}, "/oauth/authorize", func(h *house) string { return h.URL() }},
		"or none":                 {func(h *house) { h.OmitResponseIssuer() }, "/resources/R/oauth/authorize", func(*house) string { return "" }},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			c.change(h)
			client := h.Register(callback).ID
			for what, form := range map[string]url.Values{"code": authorization(client), "error": authorization(client, "code_challenge", "")} {
				_, q := h.get(c.path + "?" + form.Encode()).location(t)
				if q.Get("iss") != c.want(h) || q.Has("iss") != (c.want(h) != "") || q.Get(what) == "" {
					t.Errorf("%v", q)
				}
			}
		})
	}
}

func TestBrokenAuthorizationRequestsGoBackWithAnError(t *testing.T) {
	h := open(t)
	client := h.Register(callback).ID
	for name, c := range map[string]struct {
		changes []string
		want    string
	}{
		"no response_type":      {[]string{"response_type", ""}, "unsupported_response_type"},
		"implicit":              {[]string{"response_type", "token"}, "unsupported_response_type"},
		"no state":              {[]string{"state", ""}, "invalid_request"},
		"no PKCE":               {[]string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request"},
		"PKCE plain":            {[]string{"code_challenge_method", "plain"}, "invalid_request"},
		"PKCE plain by default": {[]string{"code_challenge_method", ""}, "invalid_request"},
		"no resource":           {[]string{"resource", ""}, "invalid_request"},
		"resource: relative":    {[]string{"resource", "/mcp"}, "invalid_target"},
		"resource: a fragment":  {[]string{"resource", serverURL + "#x"}, "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			target, q := h.authorize(client, c.changes...).location(t)
			if target != callback || q.Get("error") != c.want || q.Has("code") || q.Get("error_description") == "" {
				t.Errorf("%s %v", target, q)
			}
			if wantState := name != "no state"; q.Has("state") != wantState {
				t.Errorf("state %q", q.Get("state"))
			}
		})
	}
}

func TestNobodyIsSentToAnAddressThatIsNotRegistered(t *testing.T) {
	h := open(t)
	client := h.Register(callback).ID
	for _, uri := range []string{"", callback + "/", callback + "?x=1", "http://localhost:7777/callback", "http://127.0.0.1:7778/callback", "https://evil.example/"} {
		a := h.authorize(client, "redirect_uri", uri)
		if a.StatusCode != http.StatusBadRequest || a.Header.Get("Location") != "" || a.text(t, "error") != "invalid_request" {
			t.Errorf("%q: %d, to %q", uri, a.StatusCode, a.Header.Get("Location"))
		}
	}
}

func TestResourceParameterNeverReachesTheAudience(t *testing.T) {
	h := open(t)
	client := h.Register(callback).ID
	code := h.code(client, "resource", "https://elsewhere.example/")
	token := h.post("/resources/R/oauth/token", exchange(client, code, "resource", "https://elsewhere.example/")).text(t, "access_token")
	_, claims := h.decode(token)
	if aud := claims["aud"].([]any); len(aud) != 2 || aud[0] != serverURL || aud[1] != h.ResourceID() {
		t.Errorf("aud %v", aud)
	}
}

func TestEnvironmentsEndpointFindsTheResource(t *testing.T) {
	host := documents(t, map[string]string{"/client": `{"client_id":"ID","redirect_uris":["` + callback + `"]}`})
	h := open(t, func(c *scalekitenv.Config) { c.DocumentClient = host.Client() })
	other := h.AddResource("http://localhost:3003/mcp", "notes:read")
	document := host.URL + "/client"
	for name, c := range map[string]struct {
		client, resource string
		want             *scalekitenv.Resource
	}{
		"by the client":                  {other.Register(callback).ID, serverURL, other},
		"by the resource parameter":      {document, other.ServerURL(), other},
		"by being the first":             {document, "https://unknown.example/", h.Resource},
		"by the first one's own address": {document, serverURL, h.Resource},
	} {
		t.Run(name, func(t *testing.T) {
			_, q := h.get("/oauth/authorize?" + authorization(c.client, "resource", c.resource).Encode()).location(t)
			token := h.post("/oauth/token", exchange(c.client, q.Get("code"))).text(t, "access_token")
			if _, claims := h.decode(token); claims["resid"] != c.want.ResourceID() {
				t.Errorf("resid %v", claims["resid"])
			}
		})
	}
}
