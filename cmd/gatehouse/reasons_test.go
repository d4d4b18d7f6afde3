package main

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
)

// What the MCP handler refuses by itself is as plain in the log as what the gate refuses.
func TestARefusalBehindTheGateStandsInTheLogWithItsReason(t *testing.T) {
	listing := `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for name, c := range map[string]struct {
		settings map[string]string
		method   string
		body     string
		header   map[string]string
		status   int
		want     providers.Reason
	}{
		"a batch":                     {body: "[" + listing + "]", status: 400, want: mcphttp.ReasonMessageMalformed},
		"no JSON":                     {body: `{"jsonrpc"`, status: 400, want: mcphttp.ReasonMessageMalformed},
		"a member twice":              {body: `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"x"}`, status: 400, want: mcphttp.ReasonMessageMalformed},
		"a body that is too long":     {settings: map[string]string{"server.max_body_bytes": "2048"}, body: listing + strings.Repeat(" ", 2048), status: 413, want: mcphttp.ReasonBodyTooLarge},
		"an initialize that is":       {body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"x":"` + strings.Repeat("x", 17<<10) + `"}}`, status: 413, want: mcphttp.ReasonBodyTooLarge},
		"a version that nobody knows": {body: listing, header: map[string]string{"Mcp-Protocol-Version": "2023-01-01"}, status: 400, want: mcphttp.ReasonVersionUnsupported},
		"no session":                  {body: listing, status: 400, want: mcphttp.ReasonSessionUnknown},
		"an invented session":         {body: listing, header: map[string]string{"Mcp-Session-Id": "invented"}, status: 404, want: mcphttp.ReasonSessionUnknown},
		"the end of an invented session": {method: http.MethodDelete, header: map[string]string{"Mcp-Session-Id": "invented"},
			status: 404, want: mcphttp.ReasonSessionUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHouse(t, c.settings)
			method := c.method
			if method == "" {
				method = http.MethodPost
			}
			token := h.token(t, "alice", "mcp:use")
			if a := send(t, method, h.url, token, c.body, c.header); a.status != c.status {
				t.Errorf("answered %d %s, want %d", a.status, a.body, c.status)
			}
			h.stop()
			if !strings.Contains(h.log.String(), "reason="+string(c.want)) {
				t.Errorf("the log does not say %s:\n%s", c.want, h.log)
			}
		})
	}
}

func TestWhoGetsTooManyStandsInTheLogWithTheReason(t *testing.T) {
	h := startHouse(t, map[string]string{"mcp.max_sessions_per_user": "1", "mcp.max_streams_per_user": "1"})
	token := h.token(t, "alice", "mcp:use")
	h.openStream(t, token, h.openSession(t, token))
	listen := `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	if a := send(t, http.MethodPost, h.url, token, listen, map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"}); a.status != http.StatusTooManyRequests {
		t.Errorf("the second stream answered %d %s", a.status, a.body)
	}
	if a := send(t, http.MethodPost, h.url, token, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`, nil); a.status != http.StatusTooManyRequests {
		t.Errorf("the second session answered %d %s", a.status, a.body)
	}
	h.stop()
	for _, want := range []providers.Reason{mcphttp.ReasonTooManySessions, mcphttp.ReasonTooManyStreams} {
		if !strings.Contains(h.log.String(), "reason="+string(want)) {
			t.Errorf("the log does not say %s:\n%s", want, h.log)
		}
	}
}
