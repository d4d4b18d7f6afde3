package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/providers/providertest"
)

// tokenFaults are faults in calls with a token.
func tokenFaults() map[string]fault {
	return map[string]fault{
		"a token that is invalid": {
			after: func(t *testing.T, e *env) {
				e.config.Token = providertest.NewIssuer(t).Token(e.settings["resource"], nil)
			},
			bad: []string{"server.tools failed"}, found: "not valid here", fix: "in the server's log under doctor-",
		},
		"a token without the required scopes": {
			after: func(t *testing.T, e *env) { e.config.Token = e.token("notes:read") },
			bad:   []string{"server.tools failed"}, found: "lacks a scope", fix: `sign in with "mcp:use"`,
		},
		"a token of a denied client": {
			before: denyWith("- client: local-service"),
			after:  func(t *testing.T, e *env) { e.config.Token = e.token("mcp:use") },
			bad:    []string{"server.tools failed"}, found: "the operator has denied the caller",
			fix: "`gatehouse deny --list`",
		},
		"a token that the server cannot verify": {
			before: do(func(e *env) {
				e.provider.intercept = respond("/keys", 500, "text/plain", "canary-upstream")
			}),
			after: func(t *testing.T, e *env) {
				e.config.Token = e.token("mcp:use")
			},
			bad: []string{"server.tools failed", "server.ready failed", "provider.keys failed"}, found: "503",
		},
		"a proxy that refuses requests with a token": {
			after: func(t *testing.T, e *env) {
				e.config.Token = e.token("mcp:use")
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && respond("", 403, "text/html", "canary-upstream")(w, r)
				}
			},
			bad: []string{"server.tools failed"}, found: "not from this server",
		},
		"a token after too many invalid ones": {
			before: do(func(e *env) { e.settings["server.failed_auth_per_minute"] = "1" }),
			after: func(t *testing.T, e *env) {
				e.config.Token = providertest.NewIssuer(t).Token(e.settings["resource"], nil)
				for range 2 {
					r := httptest.NewRequest(http.MethodPost, e.settings["resource"], strings.NewReader("{}"))
					r.Header.Set("Authorization", "Bearer "+e.config.Token)
					r.RemoteAddr = "127.0.0.1:1"
					e.app.HTTP.ServeHTTP(httptest.NewRecorder(), r)
				}
			},
			bad: []string{"server.tools warning"}, found: "429", fix: "in a minute",
		},
		"a server that fails on requests with a token": {
			after: func(t *testing.T, e *env) {
				e.config.Token = e.token("mcp:use")
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && respond("", 500, "text/plain", "canary-upstream")(w, r)
				}
			},
			bad: []string{"server.tools failed"}, found: "500 with a body that is not JSON", fix: "the server's log",
		},
		"a token without a scope claim, and default scopes that lack a required one": {
			before: do(func(e *env) { e.settings["provider.default_scopes"] = "notes:read" }),
			after: func(t *testing.T, e *env) {
				e.config.Token = e.token("mcp:use")
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" &&
						respond("", 403, "application/json",
							`{"error":"insufficient_scope","error_description":"x","request_id":"x"}`)(w, r)
				}
			},
			bad: []string{"server.tools failed", "config.default_scopes warning"}, found: "no scope claim",
			fix: "provider.default_scopes",
		},
		"a response that is not one to tools/list": {
			after: func(t *testing.T, e *env) {
				e.config.Token = e.token("mcp:use")
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" &&
						respond("", 200, "application/json", `{"canary-upstream":1}`)(w, r)
				}
			},
			bad: []string{"server.tools failed"}, found: "not one to tools/list",
		},
		"a token that sees no tool": {
			after: func(t *testing.T, e *env) {
				e.config.Token = e.token("mcp:use")
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" &&
						respond("", 200, "text/event-stream", "event: message\ndata: {\"result\":{\"tools\":[]}}\n\n")(w, r)
				}
			},
			bad: []string{"server.tools warning"}, found: "the token sees no tool",
		},
	}
}
