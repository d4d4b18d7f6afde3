package doctor_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// connectionFaults are faults in reaching the server.
func connectionFaults() map[string]fault {
	return map[string]fault{
		"a resource whose name does not resolve": {
			before: func(t *testing.T, e *env) {
				e.useResource("https://mcp.invalid/mcp")
				e.noServer, e.config.Resolver = true, emptyResolver(t)
			},
			bad: []string{"server.dns failed"}, found: "cannot be resolved", fix: "DNS",
		},
		"a server that does not run": {
			before: do(func(e *env) {
				e.noServer = true
				e.proxy.Close()
				e.config.LocalHealth = e.provider.URL + "/health" // of another program
			}),
			bad: []string{"server.tcp warning"}, found: "the server does not run", fix: "gatehouse serve",
		},
		"a server that runs, but not at resource": {
			after: do(func(e *env) { e.proxy.Close(); e.config.LocalHealth = e.inner + "/health" }),
			bad:   []string{"server.tcp failed"}, found: "although the server runs here",
			fix: "a proxy, a port mapping",
		},
		"a resource that cannot be reached": {
			// TCP to the broadcast address fails at once, without a packet.
			before: do(func(e *env) { e.useResource("https://255.255.255.255/mcp"); e.noServer = true }),
			bad:    []string{"server.tcp failed"}, found: "connect: ", fix: "firewall",
		},
		"a certificate of an unknown authority": {
			before: do(func(e *env) { e.useTLS(); e.config.RootCAs = nil }),
			bad:    []string{"server.tls failed", "config.port warning"},
			found:  "authority that is not trusted here", fix: "SSL_CERT_FILE",
		},
		"a certificate that expires soon": {
			before: func(t *testing.T, e *env) {
				e.useTLS(certificate(t, "127.0.0.1", 13*24*time.Hour))
			},
			bad: []string{"server.tls warning", "config.port warning"}, found: "certificate valid until",
			fix: "renew it",
		},
		"an expired certificate": {
			before: func(t *testing.T, e *env) { e.useTLS(certificate(t, "127.0.0.1", -time.Hour)) },
			bad:    []string{"server.tls failed", "config.port warning"}, found: "it may have expired", fix: "renew",
		},
		"a certificate for another host": {
			before: func(t *testing.T, e *env) {
				e.useTLS(certificate(t, "127.0.0.2", 90*24*time.Hour))
			},
			bad: []string{"server.tls failed", "config.port warning"}, found: "for another host",
			fix: "replace the certificate",
		},
		"a server with TLS at an http resource": {
			before: do(func(e *env) {
				e.noServer = true
				e.useTLS()
				e.settings["resource"] = strings.Replace(e.settings["resource"], "https:", "http:", 1)
			}),
			bad: []string{"server.health failed"}, found: "it speaks TLS, and resource is plain http",
			fix: "write https:// instead of http:// in resource",
		},
		"a server without TLS at an https resource": {
			before: do(func(e *env) {
				e.noServer = true
				e.settings["resource"] = strings.Replace(e.settings["resource"], "http:", "https:", 1)
				e.settings["server.listen"] = e.proxy.Listener.Addr().String()
			}),
			bad: []string{"server.tls failed", "config.port warning"}, found: "but plain http",
			fix: "write http:// instead of https:// in resource",
		},
		"another server at that port": {
			before: do(func(e *env) { e.noServer = true; e.proxy.next = http.NotFoundHandler() }),
			bad:    []string{"server.health failed"}, found: "another program answers", fix: "another port",
		},
		"another server at that port, with its own /health": {
			before: do(func(e *env) {
				e.noServer = true
				health, others := respond("/health", 200, "application/json", `{"status":"UP"}`),
					respond("", 404, "application/json", `{"canary-upstream":1}`)
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return health(w, r) || others(w, r)
				}
			}),
			bad: []string{"server.health failed"}, found: "another program answers", fix: "another port",
		},
		"another server at that port, which is unhealthy": {
			before: do(func(e *env) {
				e.noServer = true
				e.proxy.intercept = respond("/health", 500, "application/json", `{"status":"healthy"}`)
			}),
			bad: []string{"server.health failed"}, found: "500 with JSON", fix: "another port",
		},
		"a server that is stuck": {
			after: do(func(e *env) {
				e.proxy.intercept = respond("/health", 503, "application/json", `{"status":"stuck"}`)
			}),
			bad: []string{"server.health failed"}, found: "the server is stuck", fix: "restart it",
		},
		"a proxy without a server": {
			before: do(func(e *env) {
				e.noServer = true
				e.proxy.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502) })
			}),
			bad: []string{"server.health failed"}, found: "does not reach the server", fix: "server.listen is",
		},
		"a proxy that blocks the probes": {
			after: do(func(e *env) {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return respond("/health", 404, "text/html", "canary-upstream")(w, r) ||
						respond("/readyz", 404, "text/html", "canary-upstream")(w, r)
				}
			}),
			bad: []string{"server.health warning", "server.ready warning"}, found: "there is resource metadata",
			fix: "on purpose",
		},
		"a proxy that answers /readyz itself": {
			after: do(func(e *env) { e.proxy.intercept = respond("/readyz", 503, "text/html", "canary-upstream") }),
			bad:   []string{"server.ready warning"}, found: "503 with a body that is not JSON", fix: "on purpose",
		},
		"/readyz of another program": {
			after: do(func(e *env) {
				e.proxy.intercept = respond("/readyz", 500, "application/json", `{"reason":"x"}`)
			}),
			bad: []string{"server.ready warning"}, found: "500 with JSON", fix: "on purpose",
		},
		"an unknown reason": {
			after: do(func(e *env) {
				e.proxy.intercept = respond("/readyz", 503, "application/json", `{"reason":"new\n"}`)
			}),
			bad: []string{"server.ready failed"}, found: `not ready: "new\n"`,
			fix: "see the checks of the provider",
		},
		"a server that stops": {
			after: do(func(e *env) { e.app.Drain() }),
			bad:   []string{"server.ready warning"}, found: "about to stop",
		},
		"a server that cannot reach its provider": {
			before: do(func(e *env) {
				e.provider.intercept = respond("/keys", 500, "text/plain", "canary-upstream")
			}),
			after: do(func(e *env) { e.provider.intercept = nil }),
			bad:   []string{"server.ready failed"},
			found: "not ready: keys_unavailable, the issuer's keys could not be fetched",
			fix:   "reaches the provider as this one does",
		},
	}
}
