package doctor_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// reachFaults are faults in reaching the provider.
func reachFaults() map[string]fault {
	return map[string]fault{
		"a provider whose name does not resolve": {
			before: func(t *testing.T, e *env) {
				e.settings["provider.issuer"] = "https://id.invalid"
				e.noProvider, e.noServer, e.config.Resolver = true, true, emptyResolver(t)
				e.proxy.Close()
			},
			bad: []string{"provider.dns failed", "server.tcp warning"}, found: "cannot be resolved",
			fix: "provider.issuer",
		},
		"a provider that does not listen": {
			before: func(t *testing.T, e *env) {
				e.noProvider, e.settings["provider.issuer"] = true, "http://"+closedAddress(t)
			},
			bad: []string{"provider.tcp failed", "server.ready failed"}, found: "connection refused",
			fix: "provider.issuer",
		},
		"a provider with a certificate of an unknown authority": {
			before: func(t *testing.T, e *env) {
				e.noProvider, e.settings["provider.issuer"] = true, newFaultProxy(t, &tls.Config{}).URL
			},
			bad:   []string{"provider.tls failed", "server.ready failed"},
			found: "authority that is not trusted here", fix: "SSL_CERT_FILE",
		},
		"a provider that speaks no TLS": {
			before: func(t *testing.T, e *env) {
				e.noProvider, e.settings["provider.issuer"] = true,
					strings.Replace(e.provider.URL, "http:", "https:", 1)
			},
			bad: []string{"provider.tls failed", "server.ready failed"}, found: "but plain http",
			fix: "write http:// instead of https:// in provider.issuer",
		},
		"a provider that speaks neither TLS nor http": {
			before: func(t *testing.T, e *env) {
				e.noProvider, e.settings["provider.issuer"] = true, "https://"+newBannerServer(t, sshBanner)
			},
			bad: []string{"provider.tls failed", "server.ready failed"}, found: "it does not speak TLS",
			fix: "renew or replace the certificate",
		},
		"a provider that speaks TLS on the port of an http issuer": {
			before: func(t *testing.T, e *env) {
				e.noProvider, e.settings["provider.issuer"] = true,
					strings.Replace(newFaultProxy(t, &tls.Config{}).URL, "https:", "http:", 1)
			},
			bad:   []string{"provider.metadata failed", "server.ready failed"},
			found: "it speaks TLS, and the address is plain http",
			fix:   "write https:// instead of http:// in provider.issuer",
		},
		"an authorization server that only clients can reach": {
			before: func(t *testing.T, e *env) {
				e.settings["provider.issuer"] = "http://" + closedAddress(t)
				e.settings["provider.discovery_url"] = e.provider.URL + "/.well-known/openid-configuration"
				e.settings["provider.discovery_issuer"] = e.provider.URL
			},
			bad: []string{"provider.tcp warning"}, fix: "no fix is needed if only clients can reach it",
		},
	}
}

// providerFaults are faults in what the provider publishes.
func providerFaults() map[string]fault {
	return map[string]fault{
		"a provider without metadata": {
			after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") &&
						respond("", 404, "text/html", "canary-upstream")(w, r)
				}
			}),
			bad: []string{"provider.metadata failed"}, found: "answered 404", fix: "provider.issuer",
		},
		"a firewall that refuses every request": {
			after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") &&
						respond("", 403, "text/html", "canary-upstream")(w, r)
				}
			}),
			bad: []string{"provider.metadata failed"}, found: "every request is refused with 403",
			fix: "such as a firewall or bot protection",
		},
		"refusals with several statuses": {
			after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					status := http.StatusNotAcceptable
					if strings.HasSuffix(r.URL.Path, "/oauth-authorization-server") {
						status = http.StatusUnauthorized
					}
					return strings.Contains(r.URL.Path, ".well-known") && respond("", status, "", "")(w, r)
				}
			}),
			bad: []string{"provider.metadata failed"}, found: "every request is refused with 401, 406",
			fix: "curl -i",
		},
		"an HTML page instead of metadata": {
			after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") &&
						respond("", 200, "text/html", "<p>canary-upstream")(w, r)
				}
			}),
			bad: []string{"provider.metadata failed"}, found: "not a JSON object",
		},
		"metadata with a slash after the issuer": {
			after: do(func(e *env) { e.provider.rewrite = setMember(metadataMark, "issuer", e.provider.URL+"/") }),
			bad:   []string{"provider.issuer failed"}, found: "it differs by a slash at the end: ",
			fix: `/" in provider.issuer, exactly as the metadata has it`,
		},
		"metadata of another issuer": {
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "issuer", "https://other.example")
			}),
			bad: []string{"provider.issuer failed"}, found: `"https://other.example"`, fix: "provider.issuer",
		},
		"metadata of another issuer at the first URL only": {
			after: do(func(e *env) {
				wrong := setMember(metadataMark, "issuer", "https://other.example")
				e.provider.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) {
					if strings.HasSuffix(r.URL.Path, "oauth-authorization-server") {
						wrong(r, w)
					}
				}
			}),
			bad: []string{"provider.issuer warning"}, found: "although right at /.well-known/openid-configuration",
			fix: "have the provider correct its metadata",
		},
		"metadata for many tenants": {
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "issuer", e.provider.URL+"/{tenantid}/v2.0")
			}),
			bad: []string{"provider.issuer failed"}, found: "which is for many tenants",
			fix: "{tid} in place of the tenant, list the tenants in provider.tenants",
		},
		"metadata behind a redirect": {
			after: do(func(e *env) { e.provider.intercept = redirectsToSlash }),
			bad:   []string{"provider.metadata failed"}, found: `answered 301 to "http://127.0.0.1:`,
			fix: "set provider.discovery_url to that address",
		},
		"metadata behind a redirect, with provider.discovery_url": {
			before: do(func(e *env) {
				e.settings["provider.discovery_url"] = e.provider.URL + "/.well-known/openid-configuration/"
				e.provider.intercept = redirectsToSlash
			}),
			// The Go SDK follows no redirect to loopback.
			bad: []string{"provider.metadata warning", "provider.clients warning"}, found: "; the server reads it at",
			fix: "clients that follow none cannot sign in",
		},
		"a page for clients without an Accept header": {
			after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/.well-known/oauth-authorization-server" {
						return false
					}
					if r.Header.Get("Accept") == "application/json" {
						return respond("", 401, "", "")(w, r)
					}
					return respond("", 200, "text/html", "<p>canary-upstream")(w, r)
				}
			}),
			bad:   []string{"provider.clients warning"},
			found: `the Go SDK finds none: "http://127.0.0.1:`,
			fix:   "the Content-Type must be application/json",
		},
		"a redirect for clients without an Accept header": {
			after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Accept") == "" && redirectsToSlash(w, r)
				}
			}),
			bad: []string{"provider.clients warning"}, found: "the Go SDK finds none: it does not follow the redirect",
			fix: "without a redirect",
		},
		"metadata with another media type": {
			after: do(func(e *env) {
				e.provider.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) {
					if strings.Contains(r.URL.Path, ".well-known") {
						w.Header().Set("Content-Type", "text/json")
					}
				}
			}),
			bad: []string{"provider.clients warning"}, found: `with Content-Type "text/json"`,
			fix: "the Content-Type must be application/json",
		},
		"a router that answers 503 at the first URL": {
			after: do(func(e *env) {
				e.provider.intercept = respond("/.well-known/oauth-authorization-server", 503, "text/html", "")
			}),
			bad:   []string{"provider.clients failed"},
			found: `the TypeScript SDK finds none: it stops at "http://127.0.0.1:`,
			fix:   "or with 404 if it has none there",
		},
		"metadata of OpenID that lacks what clients require": {
			after: do(func(e *env) {
				remove := setMember(metadataMark, "subject_types_supported", nil)
				e.provider.intercept = respond("/.well-known/oauth-authorization-server", 404, "text/html", "")
				e.provider.rewrite = remove
			}),
			bad: []string{"provider.clients warning"}, found: "lacks subject_types_supported",
			fix: "OpenID Connect Discovery 1.0, section 3",
		},
		"metadata without an authorization endpoint": {
			after: do(func(e *env) { e.provider.rewrite = setMember(metadataMark, "authorization_endpoint", nil) }),
			bad:   []string{"provider.endpoints failed"}, found: "no authorization_endpoint",
		},
		"a token endpoint over plain http": {
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "token_endpoint", "http://id.example.com/token")
			}),
			bad: []string{"provider.endpoints failed"}, found: "plain http is allowed only on loopback",
		},
		"endpoints at the inner name of a compose network": {
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "authorization_endpoint", "http://keycloak:8080/auth")
			}),
			bad: []string{"provider.endpoints failed"}, found: "the authorization_endpoint cannot be used: plain http",
			fix: "KC_HOSTNAME",
		},
		"keys at the inner name of a compose network": {
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "jwks_uri", "http://keycloak:8080/certs")
			}),
			bad: []string{"provider.keys failed"}, found: "plain http is allowed only on loopback",
			fix: `"keycloak:8080" is your own, add that host to provider.http_allowed_hosts; otherwise set provider.jwks_url`,
		},
		"keys that a firewall refuses": {
			after: do(func(e *env) { e.provider.intercept = respond("/keys", 403, "text/html", "canary-upstream") }),
			bad:   []string{"provider.keys failed"}, found: "every request is refused with 403",
			fix: "have it let requests for the keys through",
		},
		"keys on a port that speaks TLS": {
			after: func(t *testing.T, e *env) {
				address := strings.Replace(newFaultProxy(t, &tls.Config{}).URL, "https:", "http:", 1)
				e.provider.rewrite = setMember(metadataMark, "jwks_uri", address+"/keys")
			},
			bad: []string{"provider.keys failed"}, found: "it speaks TLS, and the address is plain http",
			fix: "write https:// instead of http:// in provider.jwks_url",
		},
		"an introspection endpoint on a port that speaks TLS": {
			before: func(t *testing.T, e *env) {
				useIntrospection("canary-secret")(t, e)
				e.settings["provider.introspection_url"] = strings.Replace(
					newFaultProxy(t, &tls.Config{}).URL, "https:", "http:", 1) + "/introspect"
			},
			bad: []string{"provider.introspection failed"}, found: "it speaks TLS, and the address is plain http",
			fix: "write https:// instead of http:// in provider.introspection_url",
		},
		"a provider that does not announce PKCE": {
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "code_challenge_methods_supported", nil)
			}),
			bad: []string{"provider.pkce failed"}, found: "no code_challenge_methods_supported", fix: "S256",
		},
		"a provider that announces plain PKCE only": {
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "code_challenge_methods_supported", []string{"plain"})
			}),
			bad: []string{"provider.pkce failed"}, found: `"plain"`,
		},
		"a provider without client registration": {
			after: do(func(e *env) {
				noDCR, noCIMD := setMember(metadataMark, "registration_endpoint", nil),
					setMember(metadataMark, "client_id_metadata_document_supported", false)
				e.provider.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) { noDCR(r, w); noCIMD(r, w) }
			}),
			bad: []string{"provider.registration warning"}, found: "it supports neither",
			fix: "register every client by hand",
		},
		"a provider without the scopes of this server": {
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "scopes_supported", []string{"openid", "mcp:use"})
			}),
			bad: []string{"provider.scopes warning"}, found: "lacks notes:read", fix: "provider.scope_map",
		},
		"metadata without jwks_uri": {
			after: do(func(e *env) { e.provider.rewrite = setMember("token_endpoint", "jwks_uri", nil) }),
			bad:   []string{"provider.keys failed"}, found: "no jwks_uri", fix: "provider.jwks_url",
		},
		"an empty key set": {
			after: do(func(e *env) {
				e.provider.intercept = respond("/keys", 200, "application/json", `{"keys":[]}`)
			}),
			bad: []string{"provider.keys failed"}, found: "no key that can verify", fix: "keys_unavailable",
		},
		"an HTML page instead of keys": {
			after: do(func(e *env) {
				e.provider.intercept = respond("/keys", 200, "text/html", "<p>canary-upstream")
			}),
			bad: []string{"provider.keys failed"}, found: "not JSON with a list of keys", fix: "JSON Web Key Set",
		},
		"a redirect instead of keys": {
			after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					w.Header().Set("Location", "http://canary-secret@moved.example/keys?key=canary-upstream")
					return respond("/keys", 302, "text/html", "")(w, r)
				}
			}),
			bad: []string{"provider.keys failed"}, found: `redirects to "http://[redacted]@moved.example/keys?[redacted]"`,
			fix: "set provider.jwks_url to",
		},
		"a key that cannot be parsed": {
			after: do(func(e *env) {
				e.provider.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) {
					if strings.HasSuffix(r.URL.Path, "/keys") {
						changed := strings.Replace(w.Body.String(), `"keys":[`,
							`"keys":[{"kty":"RSA","kid":"canary-upstream"},`, 1)
						w.Body.Reset()
						w.Body.WriteString(changed)
						w.Header().Del("Content-Length")
					}
				}
			}),
			bad: []string{"provider.keys warning"}, found: "1 skipped (#0: it cannot be read)",
			fix: "replace or withdraw the faulty keys",
		},
		"keys for encryption only": {
			after: do(func(e *env) {
				e.provider.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) {
					if strings.HasSuffix(r.URL.Path, "/keys") {
						changed := strings.ReplaceAll(w.Body.String(), `"use":"sig"`, `"use":"enc"`)
						w.Body.Reset()
						w.Body.WriteString(changed)
					}
				}
			}),
			bad: []string{"provider.keys failed"}, found: "it is not for signatures",
		},
		"keys for an algorithm that is not accepted": {
			before: do(func(e *env) { e.settings["provider.algorithms"] = "RS256,EdDSA" }),
			bad:    []string{"provider.keys failed"}, found: "its keys are for ES256", fix: "provider.algorithms",
		},
		"an introspection endpoint that refuses the credentials": {
			before: useIntrospection("wrong"),
			bad:    []string{"provider.introspection failed"},
			found:  "rejects the credentials of this server", fix: "provider.client_id",
		},
		"an introspection endpoint that answers 401 without a cause": {
			before: useIntrospection("canary-secret"),
			after: do(func(e *env) {
				e.provider.intercept = respond("/introspect", 401, "text/plain", "canary-upstream")
			}),
			bad: []string{"provider.introspection warning"}, found: "answered 401 without a cause",
			fix: "token inspect",
		},
		"an empty key set, with introspection": {
			before: useIntrospection("canary-secret"),
			after: do(func(e *env) {
				e.provider.intercept = respond("/keys", 200, "application/json", `{"keys":[]}`)
			}),
			bad: []string{"provider.keys warning"}, found: "no key that can verify a signature",
			fix: "provider.introspection to always",
		},
		"metadata without jwks_uri, with introspection": {
			before: useIntrospection("canary-secret"),
			after:  do(func(e *env) { e.provider.rewrite = setMember(metadataMark, "jwks_uri", nil) }),
			bad:    []string{"provider.keys warning"}, found: "no jwks_uri", fix: "provider.introspection to always",
		},
		"metadata without an introspection endpoint": {
			before: useIntrospection("canary-secret"),
			after:  do(func(e *env) { e.provider.rewrite = setMember(metadataMark, "introspection_endpoint", nil) }),
			bad:    []string{"provider.introspection failed"}, found: "no introspection_endpoint",
			fix: "provider.introspection_url",
		},
		"an introspection endpoint over plain http": {
			before: useIntrospection("canary-secret"),
			after: do(func(e *env) {
				e.provider.rewrite = setMember(metadataMark, "introspection_endpoint",
					"http://id.example.com/introspect")
			}),
			// The Go SDK refuses the document for it, although a client never sends anything there.
			bad:   []string{"provider.introspection failed", "provider.clients warning"},
			found: "plain http is allowed only on loopback",
			fix:   "add that host to provider.http_allowed_hosts; otherwise set provider.introspection_url",
		},
		"a clock that is ten minutes ahead": {
			after: do(func(e *env) {
				e.provider.rewrite = func(_ *http.Request, w *httptest.ResponseRecorder) {
					w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
				}
			}),
			bad: []string{"provider.clock failed"}, found: " ahead", fix: "NTP",
		},
		"a clock that is behind, in a response from a cache": {
			after: do(func(e *env) {
				e.provider.rewrite = func(_ *http.Request, w *httptest.ResponseRecorder) {
					w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
					w.Header().Set("Age", "3000")
				}
			}),
			bad: []string{"provider.clock failed"}, found: "the provider's clock is 10m", fix: "token_expired",
		},
	}
}
