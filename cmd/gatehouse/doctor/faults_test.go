package doctor_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/providertest"
)

// fault is one thing that is wrong with a world.
type fault struct {
	// before is done to the world before it opens, after when it is open. Either may be nil.
	before, after func(*testing.T, *world)
	// bad are all checks that must find something: the one that is meant first, then what follows from the fault.
	bad []string
	// found and fix are parts of what the first says.
	found, fix string
}

func faults() map[string]fault {
	front := func(change func(w *world)) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { change(w) }
	}
	const metadataMark, resourceMark = "jwks_uri", "bearer_methods_supported"
	return map[string]fault{
		// The configuration.
		"a port that the listener does not have": {
			before: front(func(w *world) { w.settings["server.listen"] = "127.0.0.1:1" }),
			bad:    []string{"config.note warning"}, found: "clients dial port", fix: "nothing, if it is meant",
		},
		"https at a port that Claude Desktop does not dial": {
			before: front(func(w *world) { w.secureFront() }),
			bad:    []string{"config.port warning"}, found: "Claude Desktop", fix: "443",
		},

		"tokens of any type": {
			before: front(func(w *world) { w.settings["provider.token_types"] = "at+jwt,JWT" }),
			bad:    []string{"provider.token_types warning"}, found: "(at+jwt, jwt)", fix: "provider.required_claims",
		},
		"default scopes that open not every tool": {
			before: front(func(w *world) { w.settings["provider.default_scopes"] = "mcp:use,greet:read" }),
			bad:    []string{"config.default_scopes warning"}, found: `lacks "greet:write gatehouse:admin"`, fix: "provider.default_scopes",
		},
		"default scopes that open no tool": {
			before: front(func(w *world) { w.settings["provider.default_scopes"] = "greet:read" }),
			bad:    []string{"config.default_scopes warning"}, found: `lacks "mcp:use" of scopes.required`, fix: "provider.default_scopes",
		},

		// The way to the provider.
		"a provider whose name does not resolve": {
			before: func(t *testing.T, w *world) {
				w.settings["provider.issuer"] = "https://id.nowhere.example"
				w.noProvider, w.noServer, w.options.Resolver = true, true, nowhere(t)
				w.front.Close()
			},
			bad: []string{"provider.dns failed", "server.tcp warning"}, found: "cannot be resolved", fix: "provider.issuer",
		},
		"a provider that does not listen": {
			before: func(t *testing.T, w *world) {
				w.noProvider, w.settings["provider.issuer"] = true, "http://"+closed(t)
			},
			bad: []string{"provider.tcp failed", "server.ready failed"}, found: "connection refused", fix: "provider.issuer",
		},
		"a provider with a certificate of an unknown authority": {
			before: func(t *testing.T, w *world) {
				w.noProvider, w.settings["provider.issuer"] = true, newBend(t, &tls.Config{}).URL
			},
			bad: []string{"provider.tls failed", "server.ready failed"}, found: "authority that is not trusted here", fix: "SSL_CERT_FILE",
		},
		"a provider that speaks no TLS": {
			before: func(t *testing.T, w *world) {
				w.noProvider, w.settings["provider.issuer"] = true, strings.Replace(w.provider.URL, "http:", "https:", 1)
			},
			bad: []string{"provider.tls failed", "server.ready failed"}, found: "does not speak TLS",
		},
		"an authorization server that only clients reach": {
			before: func(t *testing.T, w *world) {
				w.settings["provider.issuer"] = "http://" + closed(t)
				w.settings["provider.discovery_url"] = w.provider.URL + "/.well-known/openid-configuration"
				w.settings["provider.discovery_issuer"] = w.provider.URL
			},
			bad: []string{"provider.tcp warning"}, fix: "fine if only clients can reach it",
		},

		// What the provider says of itself.
		"a provider without metadata": {
			after: front(func(w *world) {
				w.provider.before = func(a http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") && at("", 404, "text/html", "canary-upstream")(a, r)
				}
			}),
			bad: []string{"provider.metadata failed"}, found: "answered 404", fix: "provider.issuer",
		},
		"a page in place of the metadata": {
			after: front(func(w *world) {
				w.provider.before = func(a http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") && at("", 200, "text/html", "<p>canary-upstream")(a, r)
				}
			}),
			bad: []string{"provider.metadata failed"}, found: "not a JSON object",
		},
		"metadata that names the issuer with a slash": {
			after: front(func(w *world) { w.provider.rewrite = setMember(metadataMark, "issuer", w.provider.URL+"/") }),
			bad:   []string{"provider.issuer failed"}, found: "differs by a slash", fix: "set provider.issuer to the issuer in the metadata",
		},
		"metadata of somebody else": {
			after: front(func(w *world) { w.provider.rewrite = setMember(metadataMark, "issuer", "https://other.example") }),
			bad:   []string{"provider.issuer failed"}, found: `"https://other.example"`, fix: "provider.issuer",
		},
		"metadata that is wrong at the first place only": {
			after: front(func(w *world) {
				wrong := setMember(metadataMark, "issuer", "https://other.example")
				w.provider.rewrite = func(r *http.Request, a *httptest.ResponseRecorder) {
					if strings.HasSuffix(r.URL.Path, "oauth-authorization-server") {
						wrong(r, a)
					}
				}
			}),
			bad: []string{"provider.issuer warning"}, found: "although right at /.well-known/openid-configuration", fix: "have the provider's metadata corrected",
		},
		"metadata of many tenants": {
			after: front(func(w *world) {
				w.provider.rewrite = setMember(metadataMark, "issuer", w.provider.URL+"/{tenantid}/v2.0")
			}),
			bad: []string{"provider.issuer failed"}, found: "which is for many tenants", fix: "{tid} in the place of the tenant, the tenants in provider.tenants",
		},
		"metadata behind a redirect": {
			after: front(func(w *world) { w.provider.before = redirectsToSlash }),
			bad:   []string{"provider.metadata failed"}, found: `answered 301 to "http://127.0.0.1:`, fix: "set provider.discovery_url to that address",
		},
		"metadata behind a redirect that the server does not need": {
			before: front(func(w *world) {
				w.settings["provider.discovery_url"] = w.provider.URL + "/.well-known/openid-configuration/"
				w.provider.before = redirectsToSlash
			}),
			bad: []string{"provider.metadata warning"}, found: "; the server reads it at", fix: "clients that do not follow redirects cannot sign in",
		},
		"metadata without an authorization endpoint": {
			after: front(func(w *world) { w.provider.rewrite = setMember(metadataMark, "authorization_endpoint", nil) }),
			bad:   []string{"provider.endpoints failed"}, found: "no authorization_endpoint",
		},
		"a token endpoint in plain http": {
			after: front(func(w *world) {
				w.provider.rewrite = setMember(metadataMark, "token_endpoint", "http://id.example.com/token")
			}),
			bad: []string{"provider.endpoints failed"}, found: "plain http is allowed only on loopback",
		},
		"a provider that does not announce PKCE": {
			after: front(func(w *world) { w.provider.rewrite = setMember(metadataMark, "code_challenge_methods_supported", nil) }),
			bad:   []string{"provider.pkce failed"}, found: "no code_challenge_methods_supported", fix: "S256",
		},
		"a provider that announces plain PKCE only": {
			after: front(func(w *world) {
				w.provider.rewrite = setMember(metadataMark, "code_challenge_methods_supported", []string{"plain"})
			}),
			bad: []string{"provider.pkce failed"}, found: `"plain"`,
		},
		"a provider at which no client can register": {
			after: front(func(w *world) {
				noDCR, noCIMD := setMember(metadataMark, "registration_endpoint", nil), setMember(metadataMark, "client_id_metadata_document_supported", false)
				w.provider.rewrite = func(r *http.Request, a *httptest.ResponseRecorder) { noDCR(r, a); noCIMD(r, a) }
			}),
			bad: []string{"provider.registration warning"}, found: "neither", fix: "register every client by hand",
		},
		"a provider that does not know our scopes": {
			after: front(func(w *world) {
				w.provider.rewrite = setMember(metadataMark, "scopes_supported", []string{"openid", "mcp:use"})
			}),
			bad: []string{"provider.scopes warning"}, found: "lacks greet:read", fix: "provider.scope_map",
		},
		"metadata without the address of the keys": {
			after: front(func(w *world) { w.provider.rewrite = setMember("token_endpoint", "jwks_uri", nil) }),
			bad:   []string{"provider.keys failed"}, found: "no jwks_uri", fix: "provider.jwks_url",
		},
		"no keys": {
			after: front(func(w *world) { w.provider.before = at("/keys", 200, "application/json", `{"keys":[]}`) }),
			bad:   []string{"provider.keys failed"}, found: "no key that can verify", fix: "keys_unavailable",
		},
		"a page in place of the keys": {
			after: front(func(w *world) { w.provider.before = at("/keys", 200, "text/html", "<p>canary-upstream") }),
			bad:   []string{"provider.keys failed"}, found: "not JSON with a list of keys", fix: "JSON Web Key Set",
		},
		"a redirect in place of the keys": {
			after: front(func(w *world) {
				w.provider.before = func(a http.ResponseWriter, r *http.Request) bool {
					a.Header().Set("Location", "http://canary-upstream.example/keys")
					return at("/keys", 302, "text/html", "")(a, r)
				}
			}),
			bad: []string{"provider.keys failed"}, found: "answered 302",
		},
		"a key that cannot be read": {
			after: front(func(w *world) {
				w.provider.rewrite = func(r *http.Request, a *httptest.ResponseRecorder) {
					if strings.HasSuffix(r.URL.Path, "/keys") {
						changed := strings.Replace(a.Body.String(), `"keys":[`, `"keys":[{"kty":"RSA","kid":"canary-upstream"},`, 1)
						a.Body.Reset()
						a.Body.WriteString(changed)
						a.Header().Del("Content-Length")
					}
				}
			}),
			bad: []string{"provider.keys warning"}, found: "1 left out (#0: it cannot be read)", fix: "replace or withdraw the faulty keys",
		},
		"keys for encryption only": {
			after: front(func(w *world) {
				w.provider.rewrite = func(r *http.Request, a *httptest.ResponseRecorder) {
					if strings.HasSuffix(r.URL.Path, "/keys") {
						changed := strings.ReplaceAll(a.Body.String(), `"use":"sig"`, `"use":"enc"`)
						a.Body.Reset()
						a.Body.WriteString(changed)
					}
				}
			}),
			bad: []string{"provider.keys failed"}, found: "it is not for signatures",
		},
		"keys for another algorithm than is accepted": {
			before: front(func(w *world) { w.settings["provider.algorithms"] = "RS256,EdDSA" }),
			bad:    []string{"provider.keys failed"}, found: "its keys are for ES256", fix: "provider.algorithms",
		},
		"an introspection endpoint that refuses us": {
			before: introspecting("wrong"),
			bad:    []string{"provider.introspection failed"}, found: "rejects the credentials of this server", fix: "provider.client_id",
		},
		"an introspection endpoint that answers 401 without a cause": {
			before: introspecting("canary-secret"),
			after:  front(func(w *world) { w.provider.before = at("/introspect", 401, "text/plain", "canary-upstream") }),
			bad:    []string{"provider.introspection warning"}, found: "answered 401 without a cause", fix: "token inspect",
		},
		"a provider that publishes no keys, where tokens are introspected": {
			before: introspecting("canary-secret"),
			after:  front(func(w *world) { w.provider.before = at("/keys", 200, "application/json", `{"keys":[]}`) }),
			bad:    []string{"provider.keys warning"}, found: "no key that can verify a signature", fix: "provider.introspection to always",
		},
		"metadata without keys, where tokens are introspected": {
			before: introspecting("canary-secret"),
			after:  front(func(w *world) { w.provider.rewrite = setMember(metadataMark, "jwks_uri", nil) }),
			bad:    []string{"provider.keys warning"}, found: "no jwks_uri", fix: "provider.introspection to always",
		},
		"metadata without an introspection endpoint": {
			before: introspecting("canary-secret"),
			after:  front(func(w *world) { w.provider.rewrite = setMember(metadataMark, "introspection_endpoint", nil) }),
			bad:    []string{"provider.introspection failed"}, found: "no introspection_endpoint", fix: "provider.introspection_url",
		},
		"an introspection endpoint in plain http": {
			before: introspecting("canary-secret"),
			after: front(func(w *world) {
				w.provider.rewrite = setMember(metadataMark, "introspection_endpoint", "http://id.example.com/introspect")
			}),
			bad: []string{"provider.introspection failed"}, found: "plain http is allowed only on loopback", fix: "provider.introspection_url",
		},
		"a clock that is ten minutes off": {
			after: front(func(w *world) {
				w.provider.rewrite = func(_ *http.Request, a *httptest.ResponseRecorder) {
					a.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
				}
			}),
			bad: []string{"provider.clock failed"}, found: " ahead", fix: "NTP",
		},
		"a clock that is behind, in an answer that a cache kept": {
			after: front(func(w *world) {
				w.provider.rewrite = func(_ *http.Request, a *httptest.ResponseRecorder) {
					a.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
					a.Header().Set("Age", "3000")
				}
			}),
			bad: []string{"provider.clock failed"}, found: "the provider's clock is 10m", fix: "token_expired",
		},

		// The way to our server.
		"a resource whose name does not resolve": {
			before: func(t *testing.T, w *world) {
				w.forOthers("https://mcp.nowhere.example/mcp")
				w.noServer, w.options.Resolver = true, nowhere(t)
			},
			bad: []string{"server.dns failed"}, found: "cannot be resolved", fix: "DNS",
		},
		"a server that does not run": {
			before: front(func(w *world) {
				w.noServer = true
				w.front.Close()
				w.options.LocalHealth = w.provider.URL + "/health" // of another program
			}),
			bad: []string{"server.tcp warning"}, found: "the server does not run", fix: "gatehouse serve",
		},
		"a server that runs, but not where clients dial": {
			after: front(func(w *world) { w.front.Close(); w.options.LocalHealth = w.inner + "/health" }),
			bad:   []string{"server.tcp failed"}, found: "although the server runs here", fix: "a proxy, a port mapping",
		},
		"a resource that cannot be reached from here": {
			// Nobody connects to the broadcast address, so nothing leaves this computer.
			before: front(func(w *world) { w.forOthers("https://255.255.255.255/mcp"); w.noServer = true }),
			bad:    []string{"server.tcp failed"}, found: "connect: ", fix: "firewall",
		},
		"a certificate of an unknown authority": {
			before: front(func(w *world) { w.secureFront(); w.options.RootCAs = nil }),
			bad:    []string{"server.tls failed", "config.port warning"}, found: "authority that is not trusted here", fix: "SSL_CERT_FILE",
		},
		"a certificate that nobody renewed": {
			before: func(t *testing.T, w *world) {
				w.secureFront(certificate(t, "127.0.0.1", 13*24*time.Hour))
			},
			bad: []string{"server.tls warning", "config.port warning"}, found: "certificate good until", fix: "renew it",
		},
		"a certificate that is over": {
			before: func(t *testing.T, w *world) { w.secureFront(certificate(t, "127.0.0.1", -time.Hour)) },
			bad:    []string{"server.tls failed", "config.port warning"}, found: "it may have expired", fix: "renew",
		},
		"a certificate of another host": {
			before: func(t *testing.T, w *world) {
				w.secureFront(certificate(t, "127.0.0.2", 90*24*time.Hour))
			},
			bad: []string{"server.tls failed", "config.port warning"}, found: "for another host", fix: "replace the certificate",
		},
		"another server at that port": {
			before: front(func(w *world) { w.noServer = true; w.front.next = http.NotFoundHandler() }),
			bad:    []string{"server.health failed"}, found: "something else answers", fix: "another port",
		},
		"another server at that port, with a health of its own": {
			before: front(func(w *world) {
				w.noServer = true
				health, others := at("/health", 200, "application/json", `{"status":"UP"}`), at("", 404, "application/json", `{"canary-upstream":1}`)
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool { return health(a, r) || others(a, r) }
			}),
			bad: []string{"server.health failed"}, found: "something else answers", fix: "another port",
		},
		"another server at that port, which is ill": {
			before: front(func(w *world) {
				w.noServer = true
				w.front.before = at("/health", 500, "application/json", `{"status":"healthy"}`)
			}),
			bad: []string{"server.health failed"}, found: "500 with JSON", fix: "another port",
		},
		"a server that is stuck": {
			after: front(func(w *world) { w.front.before = at("/health", 503, "application/json", `{"status":"stuck"}`) }),
			bad:   []string{"server.health failed"}, found: "the server is stuck", fix: "restart it",
		},
		"a proxy in front of nothing": {
			before: front(func(w *world) {
				w.noServer = true
				w.front.next = http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) { a.WriteHeader(502) })
			}),
			bad: []string{"server.health failed"}, found: "does not reach the server", fix: "server.listen is",
		},
		"a proxy that keeps the probes back": {
			after: front(func(w *world) {
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return at("/health", 404, "text/html", "canary-upstream")(a, r) || at("/readyz", 404, "text/html", "canary-upstream")(a, r)
				}
			}),
			bad: []string{"server.health warning", "server.ready warning"}, found: "there is metadata of a resource", fix: "on purpose",
		},
		"a proxy that answers for readiness by itself": {
			after: front(func(w *world) { w.front.before = at("/readyz", 503, "text/html", "canary-upstream") }),
			bad:   []string{"server.ready warning"}, found: "503 with something that is no JSON", fix: "on purpose",
		},
		"a readiness of another program": {
			after: front(func(w *world) { w.front.before = at("/readyz", 500, "application/json", `{"reason":"x"}`) }),
			bad:   []string{"server.ready warning"}, found: "500 with JSON", fix: "on purpose",
		},
		"a reason that is not on the list": {
			after: front(func(w *world) { w.front.before = at("/readyz", 503, "application/json", `{"reason":"new\n"}`) }),
			bad:   []string{"server.ready failed"}, found: `not ready: "new\n"`, fix: "see the checks of the provider",
		},
		"a server that stops": {
			after: front(func(w *world) { w.house.Drain() }),
			bad:   []string{"server.ready warning"}, found: "about to stop",
		},
		"a server that cannot reach its provider": {
			before: front(func(w *world) { w.provider.before = at("/keys", 500, "text/plain", "canary-upstream") }),
			after:  front(func(w *world) { w.provider.before = nil }),
			bad:    []string{"server.ready failed"}, found: "not ready: keys_unavailable, the issuer's keys could not be fetched", fix: "reaches the provider as this one does",
		},

		// What our server says, as it arrives.
		"metadata of another resource": {
			after: front(func(w *world) {
				w.front.rewrite = setMember(resourceMark, "resource", "https://mcp.example.com/mcp")
			}),
			bad: []string{"server.metadata failed"}, found: `resource "https://mcp.example.com/mcp"`, fix: "byte for byte",
		},
		"metadata from before the provider was switched": {
			after: front(func(w *world) {
				w.front.rewrite = setMember(resourceMark, "authorization_servers", []string{"https://old.example"})
			}),
			bad: []string{"server.metadata failed"}, found: `authorization_servers "https://old.example"`, fix: "start the server again",
		},
		"metadata with other scopes": {
			after: front(func(w *world) {
				w.front.rewrite = setMember(resourceMark, "scopes_supported", []string{"mcp:use"})
			}),
			bad: []string{"server.metadata failed"}, found: `scopes_supported "mcp:use"`,
		},
		"metadata with other ways for a token": {
			after: front(func(w *world) {
				w.front.rewrite = setMember(resourceMark, "bearer_methods_supported", []string{"header", "query"})
			}),
			bad: []string{"server.metadata failed"}, found: `bearer_methods_supported "header query"`,
		},
		"a page in place of the metadata of the resource": {
			after: front(func(w *world) {
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") && at("", 200, "text/html", "<p>canary-upstream")(a, r)
				}
			}),
			bad: []string{"server.metadata failed"}, found: "not application/json", fix: "pass this path on unchanged",
		},
		"metadata of the resource that are none": {
			after: front(func(w *world) {
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") && at("", 200, "application/json", `"canary-upstream"`)(a, r)
				}
			}),
			bad: []string{"server.metadata failed"}, found: "not the metadata of a resource", fix: "pass this path on unchanged",
		},
		"a proxy that keeps .well-known to itself": {
			after: front(func(w *world) {
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") && at("", 404, "text/html", "canary-upstream")(a, r)
				}
			}),
			bad: []string{"server.metadata failed"}, found: "gave 404", fix: "pass this path on unchanged",
		},
		"a proxy that rewrites Host": {
			after: front(func(w *world) {
				next := w.front.next
				w.front.next = http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) { r.Host = "gatehouse:3002"; next.ServeHTTP(a, r) })
			}),
			bad: []string{"server.host failed"}, found: "host_refused", fix: "proxy_set_header Host",
		},
		"a proxy that rewrites Host and gives requests ids of its own": {
			after: front(func(w *world) {
				next := w.front.next
				w.front.next = http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
					r.Host = "gatehouse:3002"
					r.Header.Set("X-Request-Id", "canary-upstream")
					next.ServeHTTP(a, r)
				})
			}),
			bad: []string{"server.host failed"}, found: "host_refused", fix: "stands in the server's log",
		},
		"a resource that needs no token": {
			after: front(func(w *world) { w.front.before = at("/mcp", 200, "application/json", `{"canary-upstream":1}`) }),
			bad:   []string{"server.refusal failed"}, found: "asks for no token",
		},
		"a proxy that answers with a redirect": {
			after: front(func(w *world) { w.front.before = at("/mcp", 308, "text/html", "") }),
			bad:   []string{"server.refusal failed"}, found: "308, a redirect", fix: "as it is",
		},
		"a proxy with a rule that misses the path": {
			after: front(func(w *world) { w.front.before = at("/mcp", 404, "text/html", "canary-upstream") }),
			bad:   []string{"server.refusal failed"}, found: "404", fix: "/mcp/* does not match /mcp",
		},
		"a proxy that does not reach the server": {
			after: front(func(w *world) { w.front.before = at("/mcp", 502, "text/html", "canary-upstream") }),
			bad:   []string{"server.refusal failed"}, found: "does not reach the server",
		},
		"a proxy that gave up waiting": {
			after: front(func(w *world) { w.front.before = at("/mcp", 504, "text/html", "canary-upstream") }),
			bad:   []string{"server.refusal failed"}, found: "504: what stands in front does not reach the server",
		},
		"a proxy whose server is away": {
			after: front(func(w *world) { w.front.before = at("", 503, "text/html", "canary-upstream") }),
			bad:   []string{"server.health failed"}, found: "503: what stands in front does not reach the server",
		},
		"a guard against bots": {
			after: front(func(w *world) { w.front.before = at("/mcp", 403, "text/html", "canary-upstream") }),
			bad:   []string{"server.refusal failed"}, found: "403 with something that is no JSON", fix: "bot protection",
		},
		"a guard against bots that speaks JSON": {
			after: front(func(w *world) {
				w.front.before = at("/mcp", 403, "application/json", `{"error":"forbidden","error_description":"canary-upstream"}`)
			}),
			bad: []string{"server.refusal failed"}, found: "403 with JSON", fix: "bot protection",
		},
		"a proxy that strips WWW-Authenticate": {
			after: front(func(w *world) {
				w.front.rewrite = func(_ *http.Request, a *httptest.ResponseRecorder) { a.Header().Del("WWW-Authenticate") }
			}),
			bad: []string{"server.challenge failed"}, found: "no WWW-Authenticate", fix: "pass WWW-Authenticate on",
		},
		"a challenge that leads elsewhere": {
			after: front(func(w *world) { w.front.rewrite = challenge(w.front.URL, "https://elsewhere.example") }),
			bad:   []string{"server.challenge_content failed"}, found: `resource_metadata "https://elsewhere.example`, fix: "must not rewrite",
		},
		"a challenge with other scopes": {
			after: front(func(w *world) { w.front.rewrite = challenge("greet:read", "todo:read") }),
			bad:   []string{"server.challenge_content failed"}, found: `scope "mcp:use todo:read"`,
		},
		"a challenge that blames a token": {
			after: front(func(w *world) { w.front.rewrite = challenge("Bearer ", `Bearer error="invalid_token", `) }),
			bad:   []string{"server.challenge_content failed"}, found: `error "invalid_token"`,
		},
		"a challenge that nobody can read": {
			after: front(func(w *world) { w.front.rewrite = challenge(`"OAuth"`, `"OAuth`) }),
			bad:   []string{"server.challenge_content failed"}, found: "cannot be read",
		},
		"a challenge of another scheme": {
			after: front(func(w *world) { w.front.rewrite = challenge("Bearer ", "Basic ") }),
			bad:   []string{"server.challenge_content failed"}, found: "no Bearer challenge",
		},
		"a proxy that asks preflights for a token": {
			after: front(func(w *world) {
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return r.Method == http.MethodOptions && at("", 401, "text/plain", "canary-upstream")(a, r)
				}
			}),
			bad: []string{"server.preflight failed"}, found: "gets 401", fix: "without asking for a token",
		},
		"a proxy that answers preflights by itself, for others": {
			after: front(func(w *world) {
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					a.Header().Set("Access-Control-Allow-Origin", "https://app.example.com")
					a.Header().Set("Access-Control-Allow-Headers", "*")
					return r.Method == http.MethodOptions && at("", 204, "text/plain", "")(a, r)
				}
				w.front.rewrite = func(_ *http.Request, a *httptest.ResponseRecorder) {}
			}),
			bad:   []string{"server.preflight failed"},
			found: "lacks Access-Control-Allow-Origin, POST in Access-Control-Allow-Methods, authorization in Access-Control-Allow-Headers",
		},
		"a proxy that adds CORS headers of its own": {
			after: front(func(w *world) {
				w.front.rewrite = func(r *http.Request, a *httptest.ResponseRecorder) {
					if r.Method == http.MethodPost {
						a.Header().Add("Access-Control-Allow-Origin", "*")
					}
				}
			}),
			bad: []string{"server.exposed failed"}, found: "no Access-Control-Allow-Origin for it", fix: "leave CORS headers",
		},
		"a challenge that scripts cannot read": {
			after: front(func(w *world) {
				w.front.rewrite = func(_ *http.Request, a *httptest.ResponseRecorder) { a.Header().Del("Access-Control-Expose-Headers") }
			}),
			bad: []string{"server.exposed failed"}, found: "does not expose WWW-Authenticate",
		},
		"a server that does not allow the page's origin": {
			after: front(func(w *world) { w.options.Config.Server.AllowedOrigins = []string{"https://app.example.com"} }),
			bad:   []string{"server.exposed failed", "server.preflight failed"}, found: "from https://app.example.com", fix: "server.allowed_origins",
		},

		"a listener that hangs up on probes": {
			after: front(func(w *world) { w.front.before = hangUp(func(r *http.Request) bool { return r.URL.Path == "/readyz" }) }),
			bad:   []string{"server.ready failed"}, found: "no usable answer",
		},
		"a listener that hangs up on everybody": {
			after: front(func(w *world) { w.front.before = hangUp(func(*http.Request) bool { return true }) }),
			bad:   []string{"server.health failed"}, found: "no usable answer",
		},
		"a listener that hangs up on readers of metadata": {
			after: front(func(w *world) {
				w.front.before = hangUp(func(r *http.Request) bool { return strings.Contains(r.URL.Path, ".well-known") })
			}),
			bad: []string{"server.metadata failed"}, found: "no usable answer",
		},
		"a listener that hangs up on calls": {
			after: front(func(w *world) {
				w.front.before = hangUp(func(r *http.Request) bool { return r.Method == http.MethodPost })
			}),
			bad: []string{"server.host failed"}, found: "no usable answer",
		},
		"a listener that hangs up on browsers": {
			after: front(func(w *world) {
				w.front.before = hangUp(func(r *http.Request) bool { return r.Header.Get("Origin") != "" })
			}),
			bad: []string{"server.preflight failed", "server.exposed failed"}, found: "no usable answer",
		},
		"a listener that hangs up on whoever has a token": {
			after: func(t *testing.T, w *world) {
				w.options.Token = w.token("mcp:use")
				w.front.before = hangUp(func(r *http.Request) bool { return r.Header.Get("Authorization") != "" })
			},
			bad: []string{"server.tools failed"}, found: "no usable answer",
		},

		// With a token.
		"a token that is stale": {
			after: func(t *testing.T, w *world) {
				w.options.Token = providertest.NewIssuer(t).Token(w.settings["resource"], nil)
			},
			bad: []string{"server.tools failed"}, found: "not good here", fix: "in the server's log under doctor-",
		},
		"a token without the scopes that every call needs": {
			after: func(t *testing.T, w *world) { w.options.Token = w.token("greet:read") },
			bad:   []string{"server.tools failed"}, found: "lacks a scope", fix: `sign in with "mcp:use"`,
		},
		"a token that the server cannot check": {
			before: front(func(w *world) { w.provider.before = at("/keys", 500, "text/plain", "canary-upstream") }),
			after: func(t *testing.T, w *world) {
				w.options.Token = w.token("mcp:use")
			},
			bad: []string{"server.tools failed", "server.ready failed", "provider.keys failed"}, found: "503",
		},
		"a proxy that refuses requests with a token": {
			after: func(t *testing.T, w *world) {
				w.options.Token = w.token("mcp:use")
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && at("", 403, "text/html", "canary-upstream")(a, r)
				}
			},
			bad: []string{"server.tools failed"}, found: "not from this server",
		},
		"a token after too many bad ones": {
			before: front(func(w *world) { w.settings["server.failed_auth_per_minute"] = "1" }),
			after: func(t *testing.T, w *world) {
				w.options.Token = providertest.NewIssuer(t).Token(w.settings["resource"], nil)
				for range 2 {
					r := httptest.NewRequest(http.MethodPost, w.settings["resource"], strings.NewReader("{}"))
					r.Header.Set("Authorization", "Bearer "+w.options.Token)
					r.RemoteAddr = "127.0.0.1:1"
					w.house.HTTP.ServeHTTP(httptest.NewRecorder(), r)
				}
			},
			bad: []string{"server.tools warning"}, found: "429", fix: "wait a minute",
		},
		"a server that breaks down over the token": {
			after: func(t *testing.T, w *world) {
				w.options.Token = w.token("mcp:use")
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && at("", 500, "text/plain", "canary-upstream")(a, r)
				}
			},
			bad: []string{"server.tools failed"}, found: "500 with something that is no JSON", fix: "the server's log",
		},
		"a token without a scope claim, where the default scopes open no tool": {
			before: front(func(w *world) { w.settings["provider.default_scopes"] = "greet:read" }),
			after: func(t *testing.T, w *world) {
				w.options.Token = w.token("mcp:use")
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" &&
						at("", 403, "application/json", `{"error":"insufficient_scope","error_description":"x","request_id":"x"}`)(a, r)
				}
			},
			bad: []string{"server.tools failed", "config.default_scopes warning"}, found: "no scope claim", fix: "provider.default_scopes",
		},
		"an answer that is none to tools/list": {
			after: func(t *testing.T, w *world) {
				w.options.Token = w.token("mcp:use")
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && at("", 200, "application/json", `{"canary-upstream":1}`)(a, r)
				}
			},
			bad: []string{"server.tools failed"}, found: "not one to tools/list",
		},
		"a token to which no tool is shown": {
			after: func(t *testing.T, w *world) {
				w.options.Token = w.token("mcp:use")
				w.front.before = func(a http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && at("", 200, "text/event-stream", "event: message\ndata: {\"result\":{\"tools\":[]}}\n\n")(a, r)
				}
			},
			bad: []string{"server.tools warning"}, found: "no tool is shown to this token",
		},
	}
}

// redirectsToSlash redirects from each well-known place to the same with a slash at the end, where the metadata are.
func redirectsToSlash(a http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/.well-known/") {
		return false
	}
	path, found := strings.CutSuffix(r.URL.Path, "/")
	if !found {
		a.Header().Set("Location", r.URL.Path+"/")
		a.WriteHeader(http.StatusMovedPermanently)
		return true
	}
	r.URL.Path = path
	return false
}

// hangUp ends the connection of a request that it is meant for, without an answer.
func hangUp(on func(*http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if on(r) {
			panic(http.ErrAbortHandler) // net/http's own way to drop a connection
		}
		return false
	}
}

// challenge is a rewrite of the challenge.
func challenge(old, new string) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, a *httptest.ResponseRecorder) {
		if h := a.Header(); h.Get("WWW-Authenticate") != "" {
			h.Set("WWW-Authenticate", strings.Replace(h.Get("WWW-Authenticate"), old, new, 1))
		}
	}
}

// introspecting makes the server ask about opaque tokens.
func introspecting(secret string) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.settings["provider.introspection"] = "opaque"
		w.settings["provider.client_id"] = "local-service"
		w.secret = secret
	}
}

// token is what the provider issues to a client of its own. It is asked without the network, which may be bent already.
func (w *world) token(scopes string) string {
	w.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scopes}, "resource": {w.settings["resource"]}}
	r := httptest.NewRequest(http.MethodPost, w.provider.URL+"/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("local-service", "canary-secret")
	a := httptest.NewRecorder()
	w.issuer.ServeHTTP(a, r)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(a.Body.Bytes(), &answer); err != nil || answer.AccessToken == "" {
		w.t.Fatalf("the token endpoint answered %d %s", a.Code, a.Body)
	}
	return answer.AccessToken
}

// Every check is shown to find its fault, and no check that has nothing to do with the fault complains.
func TestEveryFaultIsFoundByItsCheckAndNoOther(t *testing.T) {
	seen := map[string]bool{}
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if f.before != nil {
				w.hold(func() { f.before(t, w) })
			}
			w.open()
			if f.after != nil {
				w.hold(func() { f.after(t, w) })
			}
			results := w.examine()
			want := slices.Sorted(slices.Values(f.bad))
			if got := bad(results); !slices.Equal(got, want) {
				t.Fatalf("found %v, want %v:\n%s", got, want, text(results))
			}
			check, verdict, _ := strings.Cut(f.bad[0], " ")
			r := named(results, check)
			if !strings.Contains(r.Found, f.found) || !strings.Contains(r.Fix, f.fix) || r.Fix == "" || r.Expected == "" {
				t.Errorf("it says expected %q, found %q, fix %q", r.Expected, r.Found, r.Fix)
			}
			if doctor.Failed(results) != strings.Contains(strings.Join(f.bad, " "), "failed") {
				t.Error("Failed does not say so")
			}
			w.showsNoCanary(results)
			seen[check+" "+verdict] = true
		})
	}
	t.Run("and every check is among them", func(t *testing.T) {
		w := newWorld(t)
		introspecting("canary-secret")(t, w)
		for _, r := range w.open().examine() {
			if r.Name != "config.settings" && !seen[r.Name+" failed"] && !seen[r.Name+" warning"] && seen["provider.dns failed"] {
				t.Errorf("no fault shows that %s can fail", r.Name)
			}
		}
	})
}

func TestDefaultScopesThatImplyEveryScopeAreFine(t *testing.T) {
	w := newWorld(t)
	w.settings["provider.default_scopes"], w.settings["scopes.implies"] = "all", "all > mcp:use greet:read gatehouse:admin,greet:read > greet:write"
	if r := named(w.open().examine(), "config.default_scopes"); r.Verdict != diagnostics.VerdictOK {
		t.Errorf("%+v", r)
	}
}

// What depends on a failure is skipped and says which one.
func TestWhatAFailureMakesSenselessIsSkippedWithTheReason(t *testing.T) {
	w := newWorld(t).open()
	w.hold(func() { w.provider.rewrite = setMember("jwks_uri", "issuer", "https://other.example") })
	for _, r := range w.examine() {
		switch r.Name {
		case "provider.endpoints", "provider.pkce", "provider.registration", "provider.scopes", "provider.keys":
			if r.Verdict != diagnostics.VerdictSkipped || r.Reason != "provider.issuer failed" {
				t.Errorf("%+v", r)
			}
		case "server.health", "server.challenge_content":
			if r.Verdict != diagnostics.VerdictOK {
				t.Errorf("%+v", r)
			}
		}
	}
}
