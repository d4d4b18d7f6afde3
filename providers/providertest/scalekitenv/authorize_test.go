package scalekitenv_test

import (
	"net/http"
	"net/url"
	"testing"
)

func TestAuthorizationRedirectsBackAtOnce(t *testing.T) {
	env := open(t)
	client := env.Register("http://127.0.0.1:7777/callback?keep=1", callback)
	target, q := env.authorize(client.ID).location(t)
	if target != callback || q.Get("code") == "" || q.Get("state") != "st/ate&1" ||
		q.Get("iss") != env.AuthorizationServer() || len(q) != 3 {
		t.Errorf("%s %v", target, q)
	}
	_, q = env.authorize(client.ID, "redirect_uri", callback+"?keep=1").location(t)
	if q.Get("keep") != "1" || q.Get("code") == "" {
		t.Errorf("%v", q)
	}
}

func TestAuthorizationResponseIssuer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testEnv)
		path   string
		want   func(*testEnv) string
	}{
		"of the resource": {func(*testEnv) {}, "/resources/R/oauth/authorize",
			func(env *testEnv) string { return env.AuthorizationServer() }},
		"of the resource, of old": {func(env *testEnv) { env.ChangeMetadata(changes{"issuer": env.URL()}) },
			"/resources/R/oauth/authorize", func(env *testEnv) string { return env.URL() }},
		"of the environment": {func(*testEnv) {}, "/oauth/authorize",
			func(env *testEnv) string { return env.URL() }},
		"or none": {func(env *testEnv) { env.OmitResponseIssuer() }, "/resources/R/oauth/authorize",
			func(*testEnv) string { return "" }},
	} {
		t.Run(name, func(t *testing.T) {
			env := open(t)
			c.change(env)
			client := env.Register(callback).ID
			for what, form := range map[string]url.Values{"code": authorization(client),
				"error": authorization(client, "code_challenge", "")} {
				_, q := env.get(c.path + "?" + form.Encode()).location(t)
				if q.Get("iss") != c.want(env) || q.Has("iss") != (c.want(env) != "") || q.Get(what) == "" {
					t.Errorf("%v", q)
				}
			}
		})
	}
}

func TestAuthorizationErrorsAreRedirected(t *testing.T) {
	env := open(t)
	client := env.Register(callback).ID
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
			target, q := env.authorize(client, c.changes...).location(t)
			if target != callback || q.Get("error") != c.want || q.Has("code") || q.Get("error_description") == "" {
				t.Errorf("%s %v", target, q)
			}
			if wantState := name != "no state"; q.Has("state") != wantState {
				t.Errorf("state %q", q.Get("state"))
			}
		})
	}
}

func TestAuthorizationRequiresRegisteredRedirectURI(t *testing.T) {
	env := open(t)
	client := env.Register(callback).ID
	for _, uri := range []string{"", callback + "/", callback + "?x=1", "http://localhost:7777/callback",
		"http://127.0.0.1:7778/callback", "https://evil.example/"} {
		a := env.authorize(client, "redirect_uri", uri)
		if a.StatusCode != http.StatusBadRequest || a.Header.Get("Location") != "" ||
			a.text(t, "error") != "invalid_request" {
			t.Errorf("%q: %d, to %q", uri, a.StatusCode, a.Header.Get("Location"))
		}
	}
}

func TestResourceParameterDoesNotChangeTheAudience(t *testing.T) {
	env := open(t)
	client := env.Register(callback).ID
	code := env.code(client, "resource", "https://elsewhere.example/")
	token := env.post("/resources/R/oauth/token",
		exchange(client, code, "resource", "https://elsewhere.example/")).text(t, "access_token")
	_, claims := env.decode(token)
	if aud := claims["aud"].([]any); len(aud) != 2 || aud[0] != serverURL || aud[1] != env.ResourceID() {
		t.Errorf("aud %v", aud)
	}
}

func TestEnvironmentEndpointsFindTheResourceOfTheClient(t *testing.T) {
	env := open(t)
	other := env.AddResource("http://localhost:3003/mcp", "notes:read")
	client := other.Register(callback).ID
	_, q := env.get("/oauth/authorize?" + authorization(client, "resource", serverURL).Encode()).location(t)
	token := env.post("/oauth/token", exchange(client, q.Get("code"))).text(t, "access_token")
	if _, claims := env.decode(token); claims["resid"] != other.ResourceID() {
		t.Errorf("resid %v", claims["resid"])
	}
}
