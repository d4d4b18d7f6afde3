package main

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/providertest/golden"
)

// What clients receive from a server without upstreams, byte for byte. A change of the file is a change of the wire.
func TestWire_WithoutUpstreams(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	use := srv.token(t, "alice", "mcp:use")
	greet := srv.token(t, "alice", "mcp:use", "greet:read")
	session := srv.openSession(t, use)

	modernCall := func(tool, arguments string) request {
		body, header := callModern(tool, arguments)
		return request{header: header, body: body}
	}
	var transcript strings.Builder
	record := func(name, token, path string, r request) {
		method := r.method
		if method == "" {
			method = http.MethodPost
		}
		got := send(t, method, srv.origin()+path, token, r.body, r.header)
		fmt.Fprintf(&transcript, "== %s\n%d\n", name, got.status)
		for _, name := range slices.Sorted(maps.Keys(got.header)) {
			if name != "Date" && name != "Content-Length" { // the port has four or five digits
				fmt.Fprintf(&transcript, "%s: %s\n", name, strings.Join(got.header[name], "; "))
			}
		}
		fmt.Fprintf(&transcript, "\n%s\n\n", strings.TrimSpace(got.body))
	}
	for _, c := range []struct {
		name, token string
		request     request
	}{
		{"server/discover", use, modernRequest("server/discover", "")},
		{"tools/list", use, modernRequest("tools/list", "")},
		{"tools/list, more scopes", greet, modernRequest("tools/list", "")},
		{"tools/call", greet, modernCall("greet", `{"name":"Ada <&>"}`)},
		{"tools/call, wrong arguments", greet, modernCall("greet", `{"name":1}`)},
		{"tools/call, unknown tool", greet, modernCall("nothing", `{}`)},
		{"tools/call, missing scope", use, modernCall("greet", `{"name":"Ada"}`)},
		{"tools/call, no token", "", modernCall("greet", `{"name":"Ada"}`)},
		{"tools/call, a token that is none", "x.y.z", modernCall("greet", `{"name":"Ada"}`)},
		{"tools/call, headers that differ", greet, modernCall("greet", `{"name":"Ada"}`).with("Mcp-Name", "whoami")},
		{"resources/list", use, modernRequest("resources/list", "")},
		{"unknown method", use, modernRequest("tools/buy", "")},
		{"unknown version", use, modernRequest("tools/list", "").with("Mcp-Protocol-Version", "2031-01-01")},
		{"no JSON", use, request{body: "{"}},
		{"initialize", use, request{body: initializeBody}},
		{"legacy: tools/list", use, legacyRequest(session, "tools/list", "")},
		{"legacy: tools/list, more scopes", greet, legacyRequest(session, "tools/list", "")},
		{"legacy: tools/call", greet, legacyRequest(session, "tools/call", `"name":"greet","arguments":{"name":"Ada <&>"}`)},
		{"legacy: tools/call, unknown tool", greet, legacyRequest(session, "tools/call", `"name":"nothing"`)},
		{"legacy: tools/call, missing scope", use, legacyRequest(session, "tools/call", `"name":"greet"`)},
		{"legacy: ping", use, legacyRequest(session, "ping", "")},
		{"legacy: prompts/list", use, legacyRequest(session, "prompts/list", "")},
		{"legacy: unknown session", use, legacyRequest(session, "ping", "").with("Mcp-Session-Id", "none")},
		{"legacy: no session", use, legacyRequest(session, "tools/list", "").with("Mcp-Session-Id", "")},
		{"legacy: DELETE", use, request{method: http.MethodDelete, header: map[string]string{"Mcp-Session-Id": session}}},
	} {
		record(c.name, c.token, "/mcp", c.request)
	}
	for _, path := range []string{
		"/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource",
		"/.well-known/oauth-authorization-server", "/.well-known/jwks.json", "/health", "/readyz",
	} {
		record("GET "+path, "", path, request{method: http.MethodGet})
	}
	text := strings.ReplaceAll(transcript.String(), srv.origin(), "http://ORIGIN")
	text = regexp.MustCompile(`(Mcp-Session-Id: ).+`).ReplaceAllString(text, "${1}SESSION")
	text = regexp.MustCompile(`[0-9a-f]{32}`).ReplaceAllString(text, "REQUEST")
	golden.File(t, "testdata/wire.txt", []byte(text))
}
