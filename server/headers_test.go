package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/token"
	"gatehouse/server"
)

// doRaw sends header fields unchanged and returns the response.
func (f *testServer) doRaw(t *testing.T, method, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, path, f.resource.Host())
	if _, err := io.WriteString(conn, head+strings.Join(append(fields, "", ""), "\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// net/http reads the first of two fields. A proxy that routes or filters by the last one saw another request.
func TestRepeatedHeadersAreRejectedAfterTheToken(t *testing.T) {
	f := start(t, options{origins: []string{"https://a.example", "https://b.example"}})
	good := "Authorization: Bearer " + f.token("mcp:use")
	for name, c := range map[string]struct {
		fields []string
		status int
		reason providers.Reason
	}{
		"each once": {[]string{good, "Origin: https://a.example", "Mcp-Session-Id: 1",
			"Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: x", "Mcp-Name: x"}, 200, ""},
		"others twice": {[]string{good, "Accept: application/json",
			"Accept: text/event-stream", "X-A: 1", "X-A: 2"}, 200, ""},
		"two sessions": {[]string{good, "Mcp-Session-Id: 1", "Mcp-Session-Id: 2"}, 400,
			server.ReasonHeaderRepeated},
		"two equal sessions": {[]string{good, "Mcp-Session-Id: 1", "mcp-session-id: 1"}, 400,
			server.ReasonHeaderRepeated},
		"two versions": {[]string{good, "MCP-Protocol-Version: 2025-11-25",
			"Mcp-Protocol-Version: 2026-07-28"}, 400, server.ReasonHeaderRepeated},
		"two methods": {[]string{good, "Mcp-Method: tools/list",
			"Mcp-Method: tools/call"}, 400, server.ReasonHeaderRepeated},
		"two names": {[]string{good, "Mcp-Name: a", "Mcp-Name: b"}, 400,
			server.ReasonHeaderRepeated},
		"a name and an empty one": {[]string{good, "Mcp-Name: a", "Mcp-Name:"}, 400,
			server.ReasonHeaderRepeated},
		"two allowed origins": {[]string{good, "Origin: https://a.example",
			"Origin: https://b.example"}, 400, server.ReasonHeaderRepeated},
		"an allowed and a foreign origin": {[]string{good, "Origin: https://a.example",
			"Origin: https://evil.example"}, 403, server.ReasonOriginRefused},
		"a foreign and an allowed origin": {[]string{good, "Origin: https://evil.example",
			"Origin: https://a.example"}, 403, server.ReasonOriginRefused},
		"without a token": {[]string{"Mcp-Session-Id: 1", "Mcp-Session-Id: 2"}, 401,
			providers.ReasonNoCredentials},
		"with a bad token": {[]string{"Authorization: Bearer x", "Mcp-Session-Id: 1",
			"Mcp-Session-Id: 2"}, 401, token.ReasonOpaque},
		"a token without scopes": {[]string{"Authorization: Bearer " + f.token("other"), "Mcp-Name: a",
			"Mcp-Name: b"}, 400, server.ReasonHeaderRepeated},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := f.doRaw(t, http.MethodPost, "/mcp", append(c.fields, "Content-Length: 0")...)
			line := logLine(t, f.log, resp.Header.Get("X-Request-Id"))
			if resp.StatusCode != c.status || c.reason != "" &&
				!strings.Contains(line, "reason="+string(c.reason)) {
				t.Errorf("answered %d %s, want %d; log: %s", resp.StatusCode, body, c.status, line)
			}
			if challenge := resp.Header.Get("WWW-Authenticate"); c.status == 400 && challenge != "" {
				t.Errorf("a good token got the challenge %s", challenge)
			}
			if c.status == 400 && strings.Contains(body, "example") {
				t.Errorf("the answer quotes the request: %s", body)
			}
		})
	}
	if _, calls := f.app, f.app.calls; calls != 2 {
		t.Errorf("%d requests reached the application, want 2", calls)
	}
}

// A field of a few letters takes more than a hundred bytes of memory for the lifetime of the request.
func TestRequestHeaderHasAtMost200Fields(t *testing.T) {
	f := start(t, options{})
	good := "Authorization: Bearer " + f.token("mcp:use")
	many := func(n int, name func(int) string) (out []string) {
		for i := range n {
			out = append(out, name(i)+": ")
		}
		return out
	}
	different := func(i int) string { return fmt.Sprintf("X-%d", i) }
	same := func(int) string { return "X" }
	for name, c := range map[string]struct {
		fields []string
		status int
	}{
		"some":             {many(150, different), 200},
		"many":             {many(200, different), 431},
		"many of one name": {many(200, same), 431},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := f.doRaw(t, http.MethodPost, "/mcp", append(c.fields, good, "Content-Length: 0")...)
			line := logLine(t, f.log, resp.Header.Get("X-Request-Id"))
			if resp.StatusCode != c.status ||
				(c.status == 431) != strings.Contains(line, "reason=header_too_long") {
				t.Errorf("answered %d %s, want %d; log: %.500s", resp.StatusCode, body, c.status, line)
			}
		})
	}
}
