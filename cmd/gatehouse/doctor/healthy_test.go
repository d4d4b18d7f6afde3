package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
)

func TestHealthyServerHasNoProblem(t *testing.T) {
	e := newEnv(t).open()
	results := e.examine()
	if got := problems(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	for _, r := range results {
		if r.Expected == "" || r.Verdict == diagnostics.VerdictOK && r.Found == "" ||
			r.Verdict == diagnostics.VerdictSkipped && r.Reason == "" {
			t.Errorf("%+v lacks a text", r)
		}
	}
}

func TestHealthyServerBehindTLSHasNoProblem(t *testing.T) {
	e := newEnv(t)
	e.useTLS()
	results := e.open().examine()
	if r := find(results, "server.tls"); r.Verdict != diagnostics.VerdictOK ||
		!strings.Contains(r.Found, "TLS 1.3, certificate valid until 20") {
		t.Errorf("%+v", r)
	}
	if got := problems(results); len(got) != 1 || got[0] != "config.port warning" {
		t.Errorf("%v:\n%s", got, text(results))
	}
}

func TestToolsThatATokenSeesAreCounted(t *testing.T) {
	e := newEnv(t).open()
	for scopes, want := range map[string]string{"mcp:use": "the token sees 1 tool",
		"mcp:use notes:read": "the token sees 3 tools"} {
		e.config.Token = e.token(scopes)
		results := e.examine()
		if r := find(results, "server.tools"); r.Verdict != diagnostics.VerdictOK ||
			!strings.Contains(r.Found, want) {
			t.Errorf("%s: %+v", scopes, r)
		}
		e.showsNoCanary(results)
	}
}

// A server without tools is not a problem of the token's scopes.
func TestServerWithoutTools(t *testing.T) {
	e := newEnv(t)
	e.noTools = true
	e.open()
	e.config.Token = e.token("mcp:use")
	results := e.examine()
	if r := find(results, "server.tools"); r.Verdict != diagnostics.VerdictOK ||
		!strings.Contains(r.Found, "the server offers none") {
		t.Errorf("%+v", r)
	}
}

func TestKeysAreSkippedIfEveryTokenIsIntrospected(t *testing.T) {
	e := newEnv(t)
	useIntrospection("canary-secret")(t, e)
	e.settings["provider.introspection"] = "always"
	e.open().waitUntilUsable()
	e.change(func() { e.provider.intercept = respond("/keys", 500, "text/plain", "") })
	results := e.examine()
	if got := problems(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	if r := find(results, "provider.keys"); r.Verdict != diagnostics.VerdictSkipped ||
		find(results, "provider.introspection").Verdict != diagnostics.VerdictOK {
		t.Errorf("%s", text(results))
	}
}

func TestKeysAndIntrospectionOnHostsOfTheirOwn(t *testing.T) {
	e := newEnv(t)
	useIntrospection("canary-secret")(t, e)
	keys, introspection := newFaultProxy(t, nil), newFaultProxy(t, nil)
	e.settings["provider.jwks_url"] = keys.URL + "/keys"
	e.settings["provider.introspection_url"] = introspection.URL + "/introspect"
	keys.intercept = func(w http.ResponseWriter, r *http.Request) bool { e.issuer.ServeHTTP(w, r); return true }
	introspection.intercept = keys.intercept
	e.open()
	results := e.examine()
	if got := problems(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	for name, subject := range map[string]string{"provider.keys": keys.URL + "/keys",
		"provider.introspection": introspection.URL + "/introspect"} {
		if r := find(results, name); r.Verdict != diagnostics.VerdictOK || r.Subject != subject {
			t.Errorf("%+v", r)
		}
	}
	introspection.Close()
	results = e.examine()
	if got, want := problems(results), []string{"provider.tcp failed"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if r := find(results, "provider.introspection"); r.Reason != "provider.tcp failed" ||
		find(results, "provider.keys").Verdict != diagnostics.VerdictOK {
		t.Errorf("%s", text(results))
	}
}

func TestSkippedKeysAreListed(t *testing.T) {
	e := newEnv(t).open()
	if r := find(e.examine(), "provider.keys"); r.Found != "1 usable, for ES256" {
		t.Errorf("%+v", r)
	}
	e.change(func() {
		e.provider.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) {
			if r.URL.Path == "/keys" {
				changed := strings.Replace(w.Body.String(), `{"keys":[`, `{"keys":[{"kty":"oct","k":"AAAA"},`, 1)
				w.Body.Reset()
				w.Body.WriteString(changed)
			}
		}
	})
	if r := find(e.examine(), "provider.keys"); r.Verdict != diagnostics.VerdictOK ||
		r.Found != "1 usable, for ES256; 1 skipped (#0: it is not a public key)" {
		t.Errorf("%+v", r)
	}
}

// An address is taken from the first document of the issuer that has it, as the server does.
func TestAddressIsFromTheFirstDocumentThatHasIt(t *testing.T) {
	for name, first := range map[string]map[string]any{
		"the first has none": {"jwks_uri": nil},
		"the first is of another issuer": {"issuer": "https://other.example",
			"jwks_uri": "http://127.0.0.1:1/keys"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t).open()
			e.change(func() {
				e.provider.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) {
					for member, value := range first {
						if strings.HasSuffix(r.URL.Path, "oauth-authorization-server") {
							setMember("token_endpoint", member, value)(r, w)
						}
					}
				}
			})
			results := e.examine()
			if r := find(results, "provider.keys"); r.Verdict != diagnostics.VerdictOK {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestAllMetadataURLsAreListed(t *testing.T) {
	e := newEnv(t).open()
	want := "at /.well-known/oauth-authorization-server and /.well-known/openid-configuration"
	if r := find(e.examine(), "provider.metadata"); r.Found != want {
		t.Errorf("%+v", r)
	}
	e.change(func() {
		e.provider.intercept = respond("/.well-known/oauth-authorization-server", 404, "text/html", "")
	})
	if r := find(e.examine(), "provider.metadata"); !strings.HasPrefix(r.Found,
		"at /.well-known/openid-configuration; not at /.well-known/oauth-authorization-server (") {
		t.Errorf("%+v", r)
	}
}

func TestRegistrationMethodsAreNamed(t *testing.T) {
	e := newEnv(t).open()
	for want, rewrite := range map[string]func(*http.Request, *httptest.ResponseRecorder){
		"by dynamic registration (RFC 7591) or a client ID metadata document": nil,
		"by dynamic registration (RFC 7591)": setMember("jwks_uri",
			"client_id_metadata_document_supported", nil),
		"by a client ID metadata document; older clients support registration only": setMember("jwks_uri",
			"registration_endpoint", nil),
	} {
		e.change(func() { e.provider.rewrite = rewrite })
		if r := find(e.examine(), "provider.registration"); r.Verdict != diagnostics.VerdictOK ||
			r.Found != want+"; only registering a client shows whether its redirect URIs are accepted and "+
				"the response is usable" {
			t.Errorf("%+v, not %q", r, want)
		}
	}
}

// A proxy may replace the request ID; then the log has no line with the one that doctor generated.
func TestRequestIDIsShownOnlyIfItArrived(t *testing.T) {
	e := newEnv(t).open()
	e.config.Token = e.token("notes:read")
	if r := find(e.examine(), "server.tools"); !strings.Contains(r.Fix, "in the server's log under doctor-") {
		t.Errorf("%+v", r)
	}
	e.change(func() {
		next := e.proxy.next
		e.proxy.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Request-Id", "canary-of-a-proxy")
			next.ServeHTTP(w, r)
		})
	})
	results := e.examine()
	if r := find(results, "server.tools"); r.Verdict != diagnostics.VerdictFailed ||
		!strings.HasSuffix(r.Fix, "in the server's log") {
		t.Errorf("%+v", r)
	}
	e.showsNoCanary(results)
}

func TestToolsAreCountedInJSONAndEvents(t *testing.T) {
	const list = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{},{}]}}`
	e := newEnv(t).open()
	e.config.Token = e.token("mcp:use")
	for name, c := range map[string]struct{ contentType, body string }{
		"JSON":                    {"application/json", list},
		"an event":                {"text/event-stream", "event: message\ndata: " + list + "\n\n"},
		"an event without spaces": {"text/event-stream; charset=utf-8", "data:" + list + "\r\n\r\n"},
		"after a comment":         {"text/event-stream", ": alive\n\ndata:\n\nid: 7\ndata: " + list + "\n\n"},
		"before another message":  {"text/event-stream", "data: " + list + "\n\ndata: {}\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e.change(func() {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && respond("", 200, c.contentType, c.body)(w, r)
				}
			})
			if r := find(e.examine(), "server.tools"); r.Verdict != diagnostics.VerdictOK ||
				!strings.Contains(r.Found, "2 tools") {
				t.Errorf("%+v", r)
			}
		})
	}
}
