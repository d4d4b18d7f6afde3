package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// responseFaults are faults in the server's responses as clients receive them.
func responseFaults() map[string]fault {
	return map[string]fault{
		"metadata of another resource": {
			after: do(func(e *env) {
				e.proxy.rewrite = setMember(resourceMark, "resource", "https://mcp.example.com/mcp")
			}),
			bad: []string{"server.metadata failed"}, found: `resource "https://mcp.example.com/mcp"`,
			fix: "byte for byte",
		},
		"metadata with another authorization server": {
			after: do(func(e *env) {
				e.proxy.rewrite = setMember(resourceMark, "authorization_servers", []string{"https://old.example"})
			}),
			bad: []string{"server.metadata failed"}, found: `authorization_servers "https://old.example"`,
			fix: "restart the server",
		},
		"metadata with other scopes": {
			after: do(func(e *env) {
				e.proxy.rewrite = setMember(resourceMark, "scopes_supported", []string{"mcp:use"})
			}),
			bad: []string{"server.metadata failed"}, found: `scopes_supported "mcp:use"`,
		},
		"metadata with other bearer methods": {
			after: do(func(e *env) {
				e.proxy.rewrite = setMember(resourceMark, "bearer_methods_supported", []string{"header", "query"})
			}),
			bad: []string{"server.metadata failed"}, found: `bearer_methods_supported "header query"`,
		},
		"an HTML page instead of resource metadata": {
			after: do(func(e *env) {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") &&
						respond("", 200, "text/html", "<p>canary-upstream")(w, r)
				}
			}),
			bad: []string{"server.metadata failed"}, found: "not application/json",
			fix: "forward this path unchanged",
		},
		"a JSON string instead of resource metadata": {
			after: do(func(e *env) {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") &&
						respond("", 200, "application/json", `"canary-upstream"`)(w, r)
				}
			}),
			bad: []string{"server.metadata failed"}, found: "it is not resource metadata",
			fix: "forward this path unchanged",
		},
		"a proxy that does not forward .well-known": {
			after: do(func(e *env) {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") &&
						respond("", 404, "text/html", "canary-upstream")(w, r)
				}
			}),
			bad: []string{"server.metadata failed"}, found: "gets 404", fix: "forward this path unchanged",
		},
		"a proxy that rewrites Host": {
			after: do(func(e *env) {
				next := e.proxy.next
				e.proxy.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Host = "gatehouse:3002"
					next.ServeHTTP(w, r)
				})
			}),
			bad: []string{"server.host failed"}, found: "host_refused", fix: "proxy_set_header Host",
		},
		"a proxy that rewrites Host and X-Request-Id": {
			after: do(func(e *env) {
				next := e.proxy.next
				e.proxy.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Host = "gatehouse:3002"
					r.Header.Set("X-Request-Id", "canary-upstream")
					next.ServeHTTP(w, r)
				})
			}),
			bad: []string{"server.host failed"}, found: "host_refused", fix: "is in the server's log",
		},
		"a resource that requires no token": {
			after: do(func(e *env) {
				e.proxy.intercept = respond("/mcp", 200, "application/json", `{"canary-upstream":1}`)
			}),
			bad: []string{"server.refusal failed"}, found: "requires no token",
		},
		"a proxy that answers with a redirect": {
			after: do(func(e *env) { e.proxy.intercept = respond("/mcp", 308, "text/html", "") }),
			bad:   []string{"server.refusal failed"}, found: "308, a redirect", fix: "without a redirect",
		},
		"a proxy with a rule that misses the path": {
			after: do(func(e *env) { e.proxy.intercept = respond("/mcp", 404, "text/html", "canary-upstream") }),
			bad:   []string{"server.refusal failed"}, found: "404", fix: "/mcp/* does not match /mcp",
		},
		"a proxy that does not reach the server": {
			after: do(func(e *env) { e.proxy.intercept = respond("/mcp", 502, "text/html", "canary-upstream") }),
			bad:   []string{"server.refusal failed"}, found: "does not reach the server",
		},
		"a proxy that timed out": {
			after: do(func(e *env) { e.proxy.intercept = respond("/mcp", 504, "text/html", "canary-upstream") }),
			bad:   []string{"server.refusal failed"}, found: "504: the proxy in front does not reach the server",
		},
		"a proxy whose server is down": {
			after: do(func(e *env) { e.proxy.intercept = respond("", 503, "text/html", "canary-upstream") }),
			bad:   []string{"server.health failed"}, found: "503: the proxy in front does not reach the server",
		},
		"a bot protection": {
			after: do(func(e *env) { e.proxy.intercept = respond("/mcp", 403, "text/html", "canary-upstream") }),
			bad:   []string{"server.refusal failed"}, found: "403 with a body that is not JSON",
			fix: "bot protection",
		},
		"a bot protection that answers with JSON": {
			after: do(func(e *env) {
				e.proxy.intercept = respond("/mcp", 403, "application/json",
					`{"error":"forbidden","error_description":"canary-upstream"}`)
			}),
			bad: []string{"server.refusal failed"}, found: "403 with JSON", fix: "bot protection",
		},
		"a proxy that strips WWW-Authenticate": {
			after: do(func(e *env) {
				e.proxy.rewrite = func(_ *http.Request, w *httptest.ResponseRecorder) {
					w.Header().Del("WWW-Authenticate")
				}
			}),
			bad: []string{"server.challenge failed"}, found: "no WWW-Authenticate", fix: "forward WWW-Authenticate",
		},
		"a challenge with another metadata URL": {
			after: do(func(e *env) { e.proxy.rewrite = rewriteChallenge(e.proxy.URL, "https://elsewhere.example") }),
			bad:   []string{"server.challenge_content failed"},
			found: `resource_metadata "https://elsewhere.example`, fix: "must not rewrite",
		},
		"a challenge with other scopes": {
			after: do(func(e *env) { e.proxy.rewrite = rewriteChallenge("notes:read", "todo:read") }),
			bad:   []string{"server.challenge_content failed"}, found: `scope "mcp:use todo:read"`,
		},
		"a challenge with an error": {
			after: do(func(e *env) {
				e.proxy.rewrite = rewriteChallenge("Bearer ", `Bearer error="invalid_token", `)
			}),
			bad: []string{"server.challenge_content failed"}, found: `error "invalid_token"`,
		},
		"a challenge that cannot be parsed": {
			after: do(func(e *env) { e.proxy.rewrite = rewriteChallenge(`"OAuth"`, `"OAuth`) }),
			bad:   []string{"server.challenge_content failed"}, found: "cannot be parsed",
		},
		"a challenge with another scheme": {
			after: do(func(e *env) { e.proxy.rewrite = rewriteChallenge("Bearer ", "Basic ") }),
			bad:   []string{"server.challenge_content failed"}, found: "no Bearer challenge",
		},
		"a proxy that requires a token in preflights": {
			after: do(func(e *env) {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return r.Method == http.MethodOptions && respond("", 401, "text/plain", "canary-upstream")(w, r)
				}
			}),
			bad: []string{"server.preflight failed"}, found: "gets 401", fix: "without requiring a token",
		},
		"a proxy that answers preflights itself, for another origin": {
			after: do(func(e *env) {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					w.Header().Set("Access-Control-Allow-Origin", "https://app.example.com")
					w.Header().Set("Access-Control-Allow-Headers", "*")
					return r.Method == http.MethodOptions && respond("", 204, "text/plain", "")(w, r)
				}
				e.proxy.rewrite = func(_ *http.Request, w *httptest.ResponseRecorder) {}
			}),
			bad: []string{"server.preflight failed"},
			found: "lacks Access-Control-Allow-Origin, POST in Access-Control-Allow-Methods, " +
				"authorization in Access-Control-Allow-Headers",
		},
		"a proxy that adds CORS headers": {
			after: do(func(e *env) {
				e.proxy.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) {
					if r.Method == http.MethodPost {
						w.Header().Add("Access-Control-Allow-Origin", "*")
					}
				}
			}),
			bad: []string{"server.exposed failed"}, found: "no Access-Control-Allow-Origin for it",
			fix: "leave the server's CORS headers unchanged",
		},
		"a challenge that scripts cannot read": {
			after: do(func(e *env) {
				e.proxy.rewrite = func(_ *http.Request, w *httptest.ResponseRecorder) {
					w.Header().Del("Access-Control-Expose-Headers")
				}
			}),
			bad: []string{"server.exposed failed"}, found: "does not expose WWW-Authenticate",
		},
		"a server that does not allow the page's origin": {
			after: do(func(e *env) { e.config.Settings.Server.AllowedOrigins = []string{"https://app.example.com"} }),
			bad:   []string{"server.exposed failed", "server.preflight failed"},
			found: "from https://app.example.com", fix: "server.allowed_origins",
		},

		"a connection closed on /readyz": {
			after: do(func(e *env) {
				e.proxy.intercept = hangUp(func(r *http.Request) bool { return r.URL.Path == "/readyz" })
			}),
			bad: []string{"server.ready failed"}, found: "no usable answer",
		},
		"a connection closed on every request": {
			after: do(func(e *env) { e.proxy.intercept = hangUp(func(*http.Request) bool { return true }) }),
			bad:   []string{"server.health failed"}, found: "no usable answer",
		},
		"a connection closed on metadata": {
			after: do(func(e *env) {
				e.proxy.intercept = hangUp(func(r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known")
				})
			}),
			bad: []string{"server.metadata failed"}, found: "no usable answer",
		},
		"a connection closed on calls": {
			after: do(func(e *env) {
				e.proxy.intercept = hangUp(func(r *http.Request) bool { return r.Method == http.MethodPost })
			}),
			bad: []string{"server.host failed"}, found: "no usable answer",
		},
		"a connection closed on browsers": {
			after: do(func(e *env) {
				e.proxy.intercept = hangUp(func(r *http.Request) bool { return r.Header.Get("Origin") != "" })
			}),
			bad: []string{"server.preflight failed", "server.exposed failed"}, found: "no usable answer",
		},
		"a connection closed on requests with a token": {
			after: func(t *testing.T, e *env) {
				e.config.Token = e.token("mcp:use")
				e.proxy.intercept = hangUp(func(r *http.Request) bool { return r.Header.Get("Authorization") != "" })
			},
			bad: []string{"server.tools failed"}, found: "no usable answer",
		},
	}
}
