package main

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
)

// The log names the reason of each refusal, those of the MCP handler included.
func TestAccessLog_NamesReasonOfMCPHandler(t *testing.T) {
	t.Parallel()
	const listing = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	const twoMethods = `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"x"}`
	longInitialize := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"x":"` + strings.Repeat("x", 17<<10) + `"}}`
	srv := startServer(t, map[string]string{"server.max_body_bytes": "32768"})
	token := srv.token(t, "alice", "mcp:use")
	for name, c := range map[string]struct {
		request
		status int
		want   providers.Reason
	}{
		"a batch":                 {request{body: "[" + listing + "]"}, 400, mcphttp.ReasonMessageMalformed},
		"no JSON":                 {request{body: `{"jsonrpc"`}, 400, mcphttp.ReasonMessageMalformed},
		"a member twice":          {request{body: twoMethods}, 400, mcphttp.ReasonMessageMalformed},
		"a body that is too long": {request{body: listing + strings.Repeat(" ", 32<<10)}, 413, mcphttp.ReasonBodyTooLarge},
		"a long initialize":       {request{body: longInitialize}, 413, mcphttp.ReasonBodyTooLarge},
		"an unknown version": {
			request{body: listing}.with("Mcp-Protocol-Version", "2023-01-01"), 400, mcphttp.ReasonVersionUnsupported,
		},
		"no session":         {request{body: listing}, 400, mcphttp.ReasonSessionUnknown},
		"an unknown session": {request{body: listing}.with("Mcp-Session-Id", "invented"), 404, mcphttp.ReasonSessionUnknown},
		"the end of an unknown session": {
			request{method: http.MethodDelete}.with("Mcp-Session-Id", "invented"), 404, mcphttp.ReasonSessionUnknown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			line := srv.logLine(t, token, c.request, c.status)
			if !strings.Contains(line, "reason="+string(c.want)) {
				t.Errorf("the line does not name %s: %s", c.want, line)
			}
		})
	}
}

func TestAccessLog_NamesReasonOfLimits(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"mcp.max_sessions_per_user": "1", "mcp.max_streams_per_user": "1"})
	token := srv.token(t, "alice", "mcp:use")
	srv.openStream(t, token, srv.openSession(t, token))
	for _, c := range []struct {
		request
		want providers.Reason
	}{
		{modernRequest("subscriptions/listen", `"notifications":{}`), mcphttp.ReasonTooManyStreams},
		{request{body: initializeBody}, mcphttp.ReasonTooManySessions},
	} {
		line := srv.logLine(t, token, c.request, http.StatusTooManyRequests)
		if !strings.Contains(line, "reason="+string(c.want)) {
			t.Errorf("the line does not name %s: %s", c.want, line)
		}
	}
}
