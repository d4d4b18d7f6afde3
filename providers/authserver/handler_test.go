package authserver_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
)

func TestHandlerServesItsPathsAndMethodsOnly(t *testing.T) {
	issuer := open(t)
	allowed := map[string]string{
		"/.well-known/oauth-authorization-server": "GET, HEAD",
		"/.well-known/openid-configuration":       "GET, HEAD",
		"/keys":                                   "GET, HEAD",
		"/authorize":                              "GET",
		"/consent":                                "GET, HEAD, POST",
		"/token":                                  "POST",
		"/register":                               "POST",
		"/introspect":                             "POST",
		"/revoke":                                 "POST",
	}
	if paths := issuer.Paths(); len(paths) != len(allowed) || !slices.IsSorted(paths) ||
		!slices.Equal(paths, authserver.Paths()) {
		t.Errorf("paths %v", paths)
	}
	for path, methods := range allowed {
		if !slices.Contains(issuer.Paths(), path) {
			t.Errorf("%s is not among the paths", path)
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			a := issuer.do(issuer.request(method, path, nil))
			if slices.Contains(strings.Split(methods, ", "), method) {
				if a.StatusCode == http.StatusMethodNotAllowed || a.StatusCode == http.StatusNotFound {
					t.Errorf("%s %s: status %d", method, path, a.StatusCode)
				}
			} else if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != methods {
				t.Errorf("%s %s: status %d, Allow %q, want 405 and %q", method, path, a.StatusCode, a.Header.Get("Allow"),
					methods)
			}
		}
	}
	for _, path := range []string{
		"/", "/healthz", "/ready", "/userinfo", "/device_authorization", "/end_session", "/oauth/token", "/token/",
		"//token",
		"/keys/x", "/authorize/callback", "/.well-known/oauth-authorization-server/mcp", "/TOKEN",
	} {
		if a := issuer.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", path, a.StatusCode)
		}
	}
}

func TestHandlerLeavesCORSToTheServer(t *testing.T) {
	issuer := open(t)
	t.Run("AS-24 metadata, keys, token and registration are open, pages and introspection are not", func(t *testing.T) {
		want := []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/keys",
			"/register", "/revoke", "/token"}
		if got := issuer.OpenCORSPaths(); !slices.Equal(got, want) {
			t.Errorf("open %v, want %v", got, want)
		}
	})
	t.Run("AS-24 the handler itself sends no CORS header", func(t *testing.T) {
		for _, path := range issuer.Paths() {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				r := issuer.request(method, path, nil)
				r.Header.Set("Origin", "https://page.example")
				r.Header.Set("Access-Control-Request-Method", "POST")
				for name := range issuer.do(r).Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s sends %s", method, path, name)
					}
				}
			}
		}
	})
}

func TestFormEndpointsRequireAnUnambiguousForm(t *testing.T) {
	issuer := open(t)
	form := url.Values{"grant_type": {"client_credentials"}}
	asService := basic("service", "service-secret")
	if a := issuer.post("/token", form, asService); a.StatusCode != http.StatusOK {
		t.Fatalf("the request that the cases vary does not work: %s", a.body)
	}
	tests := []struct {
		name   string
		path   string
		form   url.Values
		change func(*http.Request)
		status int
		code   string
	}{
		{"parameters in the query are refused", "/token?grant_type=client_credentials", url.Values{}, asService,
			400, "invalid_request"},
		{"credentials in the query are refused", "/token?client_id=service&client_secret=service-secret", form, nil,
			400, "invalid_request"},
		{"a repeated parameter is refused", "/token",
			url.Values{"grant_type": {"client_credentials", "client_credentials"}}, asService, 400, "invalid_request"},
		{"a repeated unknown parameter is refused", "/token",
			url.Values{"grant_type": {"client_credentials"}, "x": {"1", "2"}}, asService, 400, "invalid_request"},
		{"a repeated resource is fine", "/token",
			url.Values{"grant_type": {"client_credentials"}, "resource": {issuer.resource, issuer.resource}},
			asService, 200, ""},
		{"a body that is not a form is refused", "/token", form,
			func(r *http.Request) { asService(r); r.Header.Set("Content-Type", "application/json") }, 400,
			"invalid_request"},
		{"a body without a type is refused", "/token", form,
			func(r *http.Request) { asService(r); r.Header.Del("Content-Type") }, 400, "invalid_request"},
		{"a large body is refused", "/token", with(form, "x", strings.Repeat("x", 70_000)), asService, 413,
			"invalid_request"},
		{"a large introspection is refused", "/introspect", url.Values{"token": {strings.Repeat("x", 70_000)}},
			asService, 413, "invalid_request"},
		{"AS-22 a missing grant type is invalid_request", "/token", url.Values{}, asService, 400,
			"invalid_request"},
		{"AS-03c the password grant is unsupported", "/token", url.Values{"grant_type": {"password"}}, asService,
			400, "unsupported_grant_type"},
		{"the token exchange grant is unsupported", "/token",
			url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}}, asService, 400,
			"unsupported_grant_type"},
		{"the JWT bearer grant is unsupported", "/token",
			url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}}, asService, 400,
			"unsupported_grant_type"},
		{"the device grant is unsupported", "/token",
			url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}}, asService, 400,
			"unsupported_grant_type"},
		{"AS-22 a wrong secret is invalid_client", "/token", form, basic("service", "wrong"), 401,
			"invalid_client"},
		{"AS-22 an unknown client is invalid_client", "/token", form, basic("unknown", "service-secret"), 401,
			"invalid_client"},
		{"AS-22 a client without its secret is invalid_client", "/token", with(form, "client_id", "service"), nil,
			401, "invalid_client"},
		{"a public client may not send a secret", "/token", with(form, "client_id", "public", "client_secret", "x"),
			nil, 401, "invalid_client"},
		{"a public client may not use client_credentials", "/token", with(form, "client_id", "public"), nil, 400,
			"unauthorized_client"},
		{"a request without a client is refused", "/token", form, nil, 400, "invalid_request"},
		{"a Basic header that is broken is invalid_client", "/token", form,
			func(r *http.Request) { r.SetBasicAuth("%zz", "x") }, 401, "invalid_client"},
		{"a Bearer header is invalid_client", "/token",
			with(form, "client_id", "service", "client_secret", "service-secret"),
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "invalid_client"},
		{"two ways to authenticate are refused", "/token",
			with(form, "client_id", "service", "client_secret", "service-secret"), asService, 400, "invalid_request"},
		{"two Authorization headers are refused", "/token", form,
			func(r *http.Request) { asService(r); r.Header.Add("Authorization", "Basic x") }, 400, "invalid_request"},
		{"a header and a client_id of different clients are refused", "/token", with(form, "client_id", "public"),
			asService, 400, "invalid_request"},
		{"a client assertion is refused", "/token",
			with(form, "client_assertion", "x", "client_assertion_type",
				"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), nil, 401, "invalid_client"},
		{"client_secret_post works", "/token", with(form, "client_id", "service", "client_secret",
			"service-secret"), nil, 200, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var change []func(*http.Request)
			if test.change != nil {
				change = append(change, test.change)
			}
			a := issuer.post(test.path, test.form, change...)
			if test.status == http.StatusOK {
				if a.StatusCode != http.StatusOK {
					t.Errorf("status %d: %s", a.StatusCode, a.body)
				}
				return
			}
			wantError(t, a, test.status, test.code)
			challenge := a.Header.Get("WWW-Authenticate")
			if (test.status == http.StatusUnauthorized) != strings.HasPrefix(challenge, "Basic realm=") {
				t.Errorf("status %d with WWW-Authenticate %q", a.StatusCode, challenge)
			}
		})
	}
	t.Run("errors do not repeat what the caller sent", func(t *testing.T) {
		const canary = "canary<script>"
		for _, a := range []answer{
			issuer.post("/token", url.Values{"grant_type": {canary}, "client_id": {canary}}),
			issuer.post("/token", with(form, "client_id", canary)),
			issuer.post("/token", issuer.exchange(canary)),
			issuer.postJSON("/register", map[string]any{"redirect_uris": []string{canary + ":"}}),
			issuer.authorize("scope", canary),
			issuer.authorize("code_challenge_method", canary),
			issuer.authorize("resource", canary),
			issuer.authorize("client_id", canary),
			issuer.authorize("redirect_uri", canary),
		} {
			location, _ := url.QueryUnescape(a.Header.Get("Location"))
			if strings.Contains(a.body+location, "canary") {
				t.Errorf("%s repeats it: %.500s %s", a.Request.URL.Path, a.body, location)
			}
		}
	})
}
