package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

func TestAHealthyWorldHasNothingToMend(t *testing.T) {
	w := newWorld(t).open()
	results := w.examine()
	if got := bad(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	for _, r := range results {
		if r.Expected == "" || r.Verdict == diagnostics.VerdictOK && r.Found == "" || r.Verdict == diagnostics.VerdictSkipped && r.Reason == "" {
			t.Errorf("%+v does not say enough", r)
		}
	}
}

func TestAHealthyServerBehindTLSHasNothingToMend(t *testing.T) {
	w := newWorld(t)
	w.secureFront()
	results := w.open().examine()
	if r := named(results, "server.tls"); r.Verdict != diagnostics.VerdictOK || !strings.Contains(r.Found, "TLS 1.3, certificate good until 20") {
		t.Errorf("%+v", r)
	}
	if got := bad(results); len(got) != 1 || got[0] != "config.port warning" {
		t.Errorf("%v:\n%s", got, text(results))
	}
}

func TestATokenIsShownItsTools(t *testing.T) {
	w := newWorld(t).open()
	for scopes, want := range map[string]string{"mcp:use": "1 tool is shown", "mcp:use greet:read": "3 tools are shown"} {
		w.options.Token = w.token(scopes)
		results := w.examine()
		if r := named(results, "server.tools"); r.Verdict != diagnostics.VerdictOK || !strings.Contains(r.Found, want) {
			t.Errorf("%s: %+v", scopes, r)
		}
		w.showsNoCanary(results)
	}
}

// Without tools there is none that more scopes could show.
func TestAServerWithoutToolsIsNotTakenForATokenWithoutScopes(t *testing.T) {
	w := newWorld(t)
	w.settings["tools.demo"] = "false"
	w.open()
	w.options.Token = w.token("mcp:use")
	results := w.examine()
	if r := named(results, "server.tools"); r.Verdict != diagnostics.VerdictOK || !strings.Contains(r.Found, "the server offers none") {
		t.Errorf("%+v", r)
	}
}

// mute are settings of a kind that somebody added without saying how it is examined.
type mute struct{ providers.Settings }

func TestAKindThatCannotBeExaminedStillHasAServer(t *testing.T) {
	w := newWorld(t).open()
	w.options.Config.Provider = mute{w.options.Config.Provider}
	results := w.examine()
	if got := bad(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	if r := named(results, "provider.metadata"); r.Verdict != diagnostics.VerdictSkipped {
		t.Errorf("%+v", r)
	}
	w.hold(func() {
		w.front.rewrite = setMember("bearer_methods_supported", "resource", "https://other.example/mcp")
	})
	if got := bad(w.examine()); len(got) != 1 || got[0] != "server.metadata failed" {
		t.Errorf("%v", got)
	}
}

func TestWhoIsAskedAboutEveryTokenNeedsNoKeys(t *testing.T) {
	w := newWorld(t)
	introspecting("canary-secret")(t, w)
	w.settings["provider.introspection"] = "always"
	w.open()
	w.hold(func() { w.provider.before = at("/keys", 500, "text/plain", "") })
	results := w.examine()
	if got := bad(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	if r := named(results, "provider.keys"); r.Verdict != diagnostics.VerdictSkipped || named(results, "provider.introspection").Verdict != diagnostics.VerdictOK {
		t.Errorf("%s", text(results))
	}
}

func TestKeysAndIntrospectionMayBeAtPlacesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	introspecting("canary-secret")(t, w)
	keys, introspection := newBend(t, nil), newBend(t, nil)
	w.settings["provider.jwks_url"] = keys.URL + "/keys"
	w.settings["provider.introspection_url"] = introspection.URL + "/introspect"
	keys.before = func(a http.ResponseWriter, r *http.Request) bool { w.issuer.ServeHTTP(a, r); return true }
	introspection.before = keys.before
	w.open()
	results := w.examine()
	if got := bad(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	for name, subject := range map[string]string{"provider.keys": keys.URL + "/keys", "provider.introspection": introspection.URL + "/introspect"} {
		if r := named(results, name); r.Verdict != diagnostics.VerdictOK || r.Subject != subject {
			t.Errorf("%+v", r)
		}
	}
	introspection.Close()
	results = w.examine()
	if got, want := bad(results), []string{"provider.tcp failed"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if r := named(results, "provider.introspection"); r.Reason != "provider.tcp failed" || named(results, "provider.keys").Verdict != diagnostics.VerdictOK {
		t.Errorf("%s", text(results))
	}
}

func TestKeysThatAreLeftOutAreSaid(t *testing.T) {
	w := newWorld(t).open()
	if r := named(w.examine(), "provider.keys"); r.Found != "1 usable, for ES256" {
		t.Errorf("%+v", r)
	}
	w.hold(func() {
		w.provider.rewrite = func(r *http.Request, a *httptest.ResponseRecorder) {
			if r.URL.Path == "/keys" {
				changed := strings.Replace(a.Body.String(), `{"keys":[`, `{"keys":[{"kty":"oct","k":"AAAA"},`, 1)
				a.Body.Reset()
				a.Body.WriteString(changed)
			}
		}
	})
	if r := named(w.examine(), "provider.keys"); r.Verdict != diagnostics.VerdictOK || r.Found != "1 usable, for ES256; 1 left out (#0: it is not a public key)" {
		t.Errorf("%+v", r)
	}
}

// The server looks an address up in the first document of its issuer that has it; so does the doctor.
func TestAnAddressIsTakenFromTheFirstDocumentOfTheIssuerThatHasIt(t *testing.T) {
	for name, first := range map[string]map[string]any{
		"the first has none":              {"jwks_uri": nil},
		"the first is of somebody else's": {"issuer": "https://other.example", "jwks_uri": "http://127.0.0.1:1/keys"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).open()
			w.hold(func() {
				w.provider.rewrite = func(r *http.Request, a *httptest.ResponseRecorder) {
					for member, value := range first {
						if strings.HasSuffix(r.URL.Path, "oauth-authorization-server") {
							setMember("token_endpoint", member, value)(r, a)
						}
					}
				}
			})
			results := w.examine()
			if r := named(results, "provider.keys"); r.Verdict != diagnostics.VerdictOK {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestAllPlacesOfMetadataAreNamed(t *testing.T) {
	w := newWorld(t).open()
	if r := named(w.examine(), "provider.metadata"); r.Found != "at /.well-known/oauth-authorization-server and /.well-known/openid-configuration" {
		t.Errorf("%+v", r)
	}
	w.hold(func() { w.provider.before = at("/.well-known/oauth-authorization-server", 404, "text/html", "") })
	if r := named(w.examine(), "provider.metadata"); !strings.HasPrefix(r.Found, "at /.well-known/openid-configuration; not at /.well-known/oauth-authorization-server (") {
		t.Errorf("%+v", r)
	}
}

func TestTheWaysOfClientsAreNamed(t *testing.T) {
	w := newWorld(t).open()
	for want, bend := range map[string]func(*http.Request, *httptest.ResponseRecorder){
		"by registration (RFC 7591), or by a document":        nil,
		"by registration (RFC 7591)":                          setMember("jwks_uri", "client_id_metadata_document_supported", nil),
		"by a document; older clients know only registration": setMember("jwks_uri", "registration_endpoint", nil),
	} {
		w.hold(func() { w.provider.rewrite = bend })
		if r := named(w.examine(), "provider.registration"); r.Verdict != diagnostics.VerdictOK || r.Found != want {
			t.Errorf("%+v, not %q", r, want)
		}
	}
}

// A proxy may tell requests apart by ids of its own. Then nobody can be led to a line of the log by ours.
func TestOnlyAnIDThatArrivedIsNamed(t *testing.T) {
	w := newWorld(t).open()
	w.options.Token = w.token("greet:read")
	if r := named(w.examine(), "server.tools"); !strings.Contains(r.Fix, "in the server's log under doctor-") {
		t.Errorf("%+v", r)
	}
	w.hold(func() {
		next := w.front.next
		w.front.next = http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Request-Id", "canary-of-a-proxy")
			next.ServeHTTP(a, r)
		})
	})
	results := w.examine()
	if r := named(results, "server.tools"); r.Verdict != diagnostics.VerdictFailed || !strings.HasSuffix(r.Fix, "in the server's log") {
		t.Errorf("%+v", r)
	}
	w.showsNoCanary(results)
}

func TestToolsAreCountedInWhateverFormTheyCome(t *testing.T) {
	const list = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{},{}]}}`
	w := newWorld(t).open()
	w.options.Token = w.token("mcp:use")
	for name, c := range map[string]struct{ contentType, body string }{
		"JSON":                    {"application/json", list},
		"an event":                {"text/event-stream", "event: message\ndata: " + list + "\n\n"},
		"an event without blanks": {"text/event-stream; charset=utf-8", "data:" + list + "\r\n\r\n"},
		"behind a comment":        {"text/event-stream", ": alive\n\ndata:\n\nid: 7\ndata: " + list + "\n\n"},
		"before another message":  {"text/event-stream", "data: " + list + "\n\ndata: {}\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w.hold(func() {
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && at("", 200, c.contentType, c.body)(a, r)
				}
			})
			if r := named(w.examine(), "server.tools"); r.Verdict != diagnostics.VerdictOK || !strings.Contains(r.Found, "2 tools") {
				t.Errorf("%+v", r)
			}
		})
	}
}
