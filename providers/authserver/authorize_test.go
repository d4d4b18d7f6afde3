package authserver_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
)

func TestAuthorizationResponse(t *testing.T) {
	issuer := open(t)
	t.Run("AS-07 state and AS-05 iss come back with the code", func(t *testing.T) {
		a := issuer.authorize()
		target, q := a.location(t)
		if a.StatusCode != http.StatusFound || target != callback {
			t.Fatalf("status %d to %q", a.StatusCode, target)
		}
		if q.Get("state") != "st/ate&1" || q.Get("iss") != issuer.url || q.Get("code") == "" || len(q) != 3 {
			t.Errorf("the answer is %v", q)
		}
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control %q", got)
		}
	})
	t.Run("AS-07 without state there is none in the response", func(t *testing.T) {
		if _, q := issuer.authorize("state", "").location(t); q.Has("state") || q.Get("code") == "" {
			t.Errorf("the answer is %v", q)
		}
	})
	t.Run("the query of the redirect URI is kept", func(t *testing.T) {
		target, q := issuer.authorize("redirect_uri", "https://app.example/cb?keep=1").location(t)
		if target != "https://app.example/cb" || q.Get("keep") != "1" || q.Get("code") == "" {
			t.Errorf("it goes to %q with %v", target, q)
		}
	})
	t.Run("a private-use scheme is answered", func(t *testing.T) {
		target, q := issuer.authorize("redirect_uri", "com.example.app:/cb").location(t)
		if target != "com.example.app:/cb" || q.Get("code") == "" {
			t.Errorf("it goes to %q with %v", target, q)
		}
	})
	t.Run("parameters that mean nothing here are ignored", func(t *testing.T) {
		_, q := issuer.authorize("max_age", "soon", "ui_locales", "??", "display", "x", "foo", "bar").location(t)
		if q.Get("code") == "" {
			t.Errorf("the answer is %v", q)
		}
	})
}

// Every request differs from a valid one in the point of its name, and its error is redirected to the client.
func TestAuthorizationErrorsAreRedirectedWithStateAndIss(t *testing.T) {
	issuer := open(t)
	tests := []struct {
		name    string
		changes []string
		code    string
	}{
		{"AS-10 AS-19 an authorization request without PKCE is refused, and the error carries iss",
			[]string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request"},
		{"AS-10 a confidential client without PKCE is refused",
			[]string{"client_id", "secretive", "code_challenge", "", "code_challenge_method", ""}, "invalid_request"},
		{"AS-10 a method without a challenge is refused", []string{"code_challenge", ""}, "invalid_request"},
		{"AS-10b plain is refused", []string{"code_challenge_method", "plain"}, "invalid_request"},
		{"AS-10b no method, which means plain, is refused", []string{"code_challenge_method", ""},
			"invalid_request"},
		{"AS-10 an unknown method is refused", []string{"code_challenge_method", "S512"}, "invalid_request"},
		{"AS-10 a challenge that is not a SHA-256 digest is refused", []string{"code_challenge", "short"},
			"invalid_request"},
		{"AS-10 a padded challenge is refused", []string{"code_challenge", challengeOf(verifier) + "="},
			"invalid_request"},
		{"AS-11 response_type=token is refused", []string{"response_type", "token"}, "unsupported_response_type"},
		{"AS-11 response_type=id_token is refused", []string{"response_type", "id_token"},
			"unsupported_response_type"},
		{"AS-11 response_type=code token is refused", []string{"response_type", "code token"},
			"unsupported_response_type"},
		{"AS-11 a missing response_type is refused", []string{"response_type", ""}, "invalid_request"},
		{"response_mode=fragment is refused, in the query", []string{"response_mode", "fragment"},
			"invalid_request"},
		{"response_mode=form_post is refused, in the query", []string{"response_mode", "form_post"},
			"invalid_request"},
		{"a request object is refused", []string{"request", "e30.e30."}, "request_not_supported"},
		{"a request_uri is refused", []string{"request_uri", "https://app.example/r"}, "request_uri_not_supported"},
		{"AS-16 an unknown resource is refused", []string{"resource", "https://elsewhere.example/mcp"},
			"invalid_target"},
		{"AS-16 a resource below the known one is refused", []string{"resource", issuer.resource + "/sub"},
			"invalid_target"},
		{"AS-16 a trailing slash makes another resource", []string{"resource", issuer.resource + "/"},
			"invalid_target"},
		{"AS-16b a resource with a fragment is refused", []string{"resource", issuer.resource + "#x"},
			"invalid_target"},
		{"AS-16b a resource with an empty fragment is refused", []string{"resource", issuer.resource + "#"},
			"invalid_target"},
		{"AS-16b a relative resource is refused", []string{"resource", "/mcp"}, "invalid_target"},
		{"a request for unknown scopes only is refused", []string{"scope", "root everything"}, "invalid_scope"},
		{"prompt=none with another value is refused", []string{"prompt", "none login"}, "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantRedirectedError(t, issuer, issuer.authorize(test.changes...), test.code)
		})
	}
	repeated := []struct{ name, parameter, code string }{
		{"a repeated scope is refused", "scope", "invalid_request"},
		{"a repeated code_challenge is refused", "code_challenge", "invalid_request"},
		{"a repeated unknown parameter is refused", "foo", "invalid_request"},
	}
	for _, test := range repeated {
		t.Run(test.name, func(t *testing.T) {
			form := issuer.authorization()
			form[test.parameter] = []string{"a", "b"}
			wantRedirectedError(t, issuer, issuer.get("/authorize?"+form.Encode()), test.code)
		})
	}
	t.Run("two resources are refused: a token is for one", func(t *testing.T) {
		form := issuer.authorization()
		form["resource"] = []string{issuer.resource, issuer.url + "/other"}
		wantRedirectedError(t, issuer, issuer.get("/authorize?"+form.Encode()), "invalid_target")
	})
	t.Run("prompt=none gets login_required where a page is required", func(t *testing.T) {
		strict := open(t, withConsent)
		wantRedirectedError(t, strict, strict.authorize("prompt", "none"), "login_required")
	})
	t.Run("a client without the grant is refused", func(t *testing.T) {
		issuer := open(t, func(c *authserver.Config) {
			c.Clients = []authserver.Client{{ID: "public", Secret: "s", RedirectURIs: []string{callback},
				GrantTypes: []string{"client_credentials"}}}
		})
		wantRedirectedError(t, issuer, issuer.authorize(), "unauthorized_client")
	})
}

func TestAuthorizationDoesNotRedirectToUnregisteredURIs(t *testing.T) {
	issuer := open(t)
	tests := []struct {
		name    string
		changes []string
	}{
		{"AS-12 an unknown client sees a page", []string{"client_id", "unknown"}},
		{"AS-12 no client sees a page", []string{"client_id", ""}},
		{"AS-12 no redirect URI sees a page", []string{"redirect_uri", ""}},
		{"AS-12 another host sees a page", []string{"redirect_uri", "https://evil.example/callback"}},
		{"AS-12 another path sees a page", []string{"redirect_uri", "http://127.0.0.1:7777/callback/x"}},
		{"AS-12 another query sees a page", []string{"redirect_uri", "http://127.0.0.1:7777/callback?x=1"}},
		{"AS-12 another case sees a page", []string{"redirect_uri", "https://APP.example/cb?keep=1"}},
		{"AS-12 dot segments see a page", []string{"redirect_uri", "http://127.0.0.1:7777/x/../callback"}},
		{"AS-12 a fragment sees a page", []string{"redirect_uri", "http://127.0.0.1:7777/callback#x"}},
		{"AS-12 another port of an https URL sees a page",
			[]string{"redirect_uri", "https://app.example:444/cb?keep=1"}},
		{"AS-12c localhost is not 127.0.0.1", []string{"redirect_uri", "http://localhost:7777/callback"}},
		{"AS-12c 127.0.0.2 is not 127.0.0.1", []string{"redirect_uri", "http://127.0.0.2:7777/callback"}},
		{"AS-12c https on loopback is not http on loopback",
			[]string{"redirect_uri", "https://127.0.0.1:7777/callback"}},
		{"AS-12c a user name that looks like loopback sees a page",
			[]string{"redirect_uri", "http://127.0.0.1:7777@evil.example/callback"}},
		{"AS-12 a client without redirect URIs sees a page", []string{"client_id", "service"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantPage(t, issuer.authorize(test.changes...), http.StatusBadRequest)
			// Also with a second error, which would be redirected.
			wantPage(t, issuer.authorize(append(test.changes, "code_challenge", "")...), http.StatusBadRequest)
		})
	}
	for _, parameter := range []string{"client_id", "redirect_uri"} {
		t.Run("AS-12 a repeated "+parameter+" sees a page", func(t *testing.T) {
			form := issuer.authorization()
			form.Add(parameter, form.Get(parameter))
			wantPage(t, issuer.get("/authorize?"+form.Encode()), http.StatusBadRequest)
		})
	}
	t.Run("a very long request sees a page", func(t *testing.T) {
		wantPage(t, issuer.authorize("state", strings.Repeat("x", 9000)), http.StatusBadRequest)
	})
	t.Run("AS-12c any port of the same loopback address is fine", func(t *testing.T) {
		for _, uri := range []string{callback, "http://127.0.0.1:1/callback", "http://127.0.0.1/callback"} {
			if target, q := issuer.authorize("redirect_uri", uri).location(t); target != uri || q.Get("code") == "" {
				t.Errorf("%s: it goes to %q with %v", uri, target, q)
			}
		}
	})
	t.Run("AS-12c the demo client listens on any loopback name", func(t *testing.T) {
		issuer := open(t, func(c *authserver.Config) { c.Clients = authserver.DemoClients("") })
		for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
			uri := "http://" + host + ":4242/callback"
			target, q := issuer.authorize("client_id", "local-cli", "redirect_uri", uri).location(t)
			if target != uri || q.Get("code") == "" {
				t.Errorf("%s: it goes to %q with %v", uri, target, q)
			}
		}
	})
}

func TestTokenIsForTheRequestedResourceAndScopes(t *testing.T) {
	issuer := open(t)
	audiences := []struct{ name, requested, want string }{
		{"AS-09 the audience is the requested resource", issuer.url + "/other", issuer.url + "/other"},
		{"AS-16d no resource means the first", "", issuer.resource},
		{"the configured spelling wins over an equivalent one",
			strings.Replace(issuer.resource, "http://", "HTTP://", 1), issuer.resource},
	}
	for _, test := range audiences {
		t.Run(test.name, func(t *testing.T) {
			a := issuer.post("/token", issuer.exchange(issuer.code("resource", test.requested), "resource",
				test.requested))
			_, claims := issuer.verify(a.json(t)["access_token"].(string))
			if claims["aud"] != test.want {
				t.Errorf("aud %v, want %q", claims["aud"], test.want)
			}
		})
	}
	t.Run("an empty path and a slash, and a default port, mean the same resource", func(t *testing.T) {
		issuer := open(t, func(c *authserver.Config) {
			c.Resources = []string{"http://localhost",
				"https://127.0.0.1:443/mcp"}
		})
		for requested, want := range map[string]string{
			"http://localhost": "http://localhost", "http://localhost/": "http://localhost",
			"http://localhost:80/":  "http://localhost",
			"https://127.0.0.1/mcp": "https://127.0.0.1:443/mcp",
		} {
			a := issuer.post("/token", issuer.exchange(issuer.code("resource", requested), "resource", requested))
			if _, claims := issuer.verify(a.json(t)["access_token"].(string)); claims["aud"] != want {
				t.Errorf("%s: aud %v, want %q", requested, claims["aud"], want)
			}
		}
		wantRedirectedError(t, issuer, issuer.authorize("resource", "http://localhost:443/"), "invalid_target")
	})
	scopes := []struct{ name, requested, want string }{
		{"AS-17 no scope means the default", "", "notes:read"},
		{"the known scopes are granted, and returned", "root notes:write notes:read notes:write",
			"notes:write notes:read"},
		{"offline_access is granted only if requested", "notes:read offline_access", "notes:read offline_access"},
	}
	for _, test := range scopes {
		t.Run(test.name, func(t *testing.T) {
			answer := issuer.tokens("scope", test.requested)
			_, claims := issuer.verify(answer["access_token"].(string))
			if answer["scope"] != test.want || claims["scope"] != test.want {
				t.Errorf("answer %v, token %v, want %q", answer["scope"], claims["scope"], test.want)
			}
		})
	}
	t.Run("without default scopes a token without scopes is issued", func(t *testing.T) {
		issuer := open(t, func(c *authserver.Config) { c.DefaultScopes = nil })
		answer := issuer.tokens("scope", "")
		if _, claims := issuer.verify(answer["access_token"].(string)); claims["scope"] != nil ||
			answer["scope"] != nil {
			t.Errorf("answer %v, token %v", answer, claims)
		}
	})
	t.Run("auto approval signs alice in, or bob with login_hint=bob", func(t *testing.T) {
		for hint, want := range map[string]string{"": "alice", "bob": "bob", "mallory": "alice"} {
			_, claims := issuer.verify(issuer.tokens("login_hint", hint)["access_token"].(string))
			if claims["sub"] != want {
				t.Errorf("hint %q: sub %v, want %q", hint, claims["sub"], want)
			}
		}
	})
	t.Run("prompt=none works with AutoApprove", func(t *testing.T) {
		if issuer.code("prompt", "none") == "" {
			t.Error("no code")
		}
	})
}

func TestPagesEscapeTheirData(t *testing.T) {
	issuer := open(t, withConsent)
	target, q := issuer.authorize().location(t)
	a := issuer.get(target + "?" + url.Values(q).Encode())
	if strings.Contains(a.body, "<b>client") || !strings.Contains(a.body, "Public &lt;b&gt;client") {
		t.Errorf("the client's name is not escaped: %s", a.body)
	}
}
