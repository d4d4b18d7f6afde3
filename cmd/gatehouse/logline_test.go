package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/configs"
)

// loggedCall is one message, and what its request's line in the log must say.
type loggedCall struct {
	name   string
	method string // of HTTP; default POST
	body   string
	header map[string]string
	status int
	want   []string
}

func rpc(method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":%s}`, method, params)
}

// modernCall is a message of 2026-07-28 with its headers.
func modernCall(method, name, params string) (string, map[string]string) {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	params = strings.TrimSuffix(params, "}")
	if params != "{" {
		params += ","
	}
	header := map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": method}
	if name != "" {
		header["Mcp-Name"] = name
	}
	return rpc(method, params+meta+"}"), header
}

func with(header map[string]string, name, value string) map[string]string {
	out := maps.Clone(header)
	if out == nil {
		out = map[string]string{}
	}
	out[name] = value
	return out
}

// lineOfCall sends a message and returns the line of its request.
func (r *running) lineOfCall(t *testing.T, token string, c loggedCall) string {
	t.Helper()
	method := c.method
	if method == "" {
		method = http.MethodPost
	}
	id := fmt.Sprintf("call-%d", time.Now().UnixNano())
	if a := send(t, method, r.url, token, c.body, with(c.header, "X-Request-Id", id)); a.status != c.status {
		t.Errorf("answered %d %s, want %d", a.status, a.body, c.status)
	}
	for range 200 { // the line is written when the answer is out
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, "msg=request ") && strings.Contains(line, "request_id="+id) {
				return line
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the request has no line in the log")
	return ""
}

func (r *running) wantLines(t *testing.T, token string, calls []loggedCall) {
	t.Helper()
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			line := r.lineOfCall(t, token, c)
			for _, want := range c.want {
				if !strings.Contains(line, want) {
					t.Errorf("the line does not say %s: %s", want, line)
				}
			}
			if strings.Contains(line, "canary") {
				t.Errorf("the line quotes what only the tool is told: %s", line)
			}
			if c.status < 300 && strings.Contains(line, "outcome=ok") && strings.Contains(line, "reason=") {
				t.Errorf("a good call has a reason: %s", line)
			}
		})
	}
}

// Whichever way a call takes through the handler, its line says what was called and what came of it.
func TestTheLineOfARequestSaysWhatWasCalledAndHowItEnded(t *testing.T) {
	const whoami, failing = `{"name":"whoami","arguments":{}}`, `{"name":"greet","arguments":{"name":7,"canary":1}}`

	t.Run("2026-07-28", func(t *testing.T) {
		h := startHouse(t, nil)
		token := h.token(t, "alice", "mcp:use", "greet:read")
		weak := h.token(t, "bob", "mcp:use")
		of := func(method, name, params string) loggedCall {
			body, header := modernCall(method, name, params)
			return loggedCall{body: body, header: header, status: 200}
		}
		ok := of("tools/call", "whoami", whoami)
		ok.name, ok.want = "a call", []string{"mcp.method=tools/call", "mcp.tool=whoami", "mcp.protocol_version=2026-07-28", "outcome=ok", "method=POST"}
		bad := of("tools/call", "greet", failing)
		bad.name, bad.want = "a tool error", []string{"mcp.tool=greet", "outcome=tool_error"}
		none := of("tools/call", "none", `{"name":"none","arguments":{"x":"canary"}}`)
		none.name, none.status, none.want = "an unknown tool", 400, []string{"mcp.tool=none", "outcome=invalid", "reason=params_invalid", `detail="JSON-RPC error -32602: unknown tool"`}
		list := of("tools/list", "", "{}")
		list.name, list.want = "a list", []string{"mcp.method=tools/list", "outcome=ok"}
		discover := of("server/discover", "", "{}")
		discover.name, discover.want = "a request that the SDK's handler serves", []string{"mcp.method=server/discover", "outcome=ok", "mcp.protocol_version=2026-07-28"}
		strange := of("foo/bar", "", "{}")
		strange.name, strange.status, strange.want = "an unknown method", 404, []string{"mcp.method=foo/bar", "outcome=invalid", "reason=method_unknown", "detail="}
		mismatch := of("tools/call", "other", whoami)
		mismatch.name, mismatch.status, mismatch.want = "headers of another call", 400, []string{"mcp.tool=whoami", "outcome=invalid", "reason=header_mismatch", "detail="}
		h.wantLines(t, token, []loggedCall{ok, bad, none, list, discover, strange, mismatch})

		denied := of("tools/call", "greet", `{"name":"greet","arguments":{"name":"canary"}}`)
		denied.name, denied.status, denied.want = "a call without its scope", 403, []string{"mcp.method=tools/call", "mcp.tool=greet", "outcome=denied", "reason=insufficient_scope", "caller.subject=bob"}
		h.wantLines(t, weak, []loggedCall{denied})
		stranger := of("tools/call", "greet", `{"name":"greet","arguments":{"name":"canary"}}`)
		stranger.name, stranger.status, stranger.want = "no token", 401, []string{"outcome=unauthenticated", "reason=no_credentials"}
		h.wantLines(t, "", []loggedCall{stranger})
	})

	t.Run("a session", func(t *testing.T) {
		h := startHouse(t, nil)
		token := h.token(t, "alice", "mcp:use", "greet:read")
		in := map[string]string{"Mcp-Session-Id": h.openSession(t, token), "Mcp-Protocol-Version": "2025-11-25"}
		h.wantLines(t, token, []loggedCall{
			{name: "the beginning", body: rpc("initialize", `{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}`), status: 200,
				want: []string{"mcp.method=initialize", "mcp.protocol_version=2025-06-18", "outcome=ok"}},
			{name: "a call", body: rpc("tools/call", whoami), header: in, status: 200,
				want: []string{"mcp.method=tools/call", "mcp.tool=whoami", "mcp.protocol_version=2025-11-25", "outcome=ok"}},
			{name: "a tool error", body: rpc("tools/call", failing), header: in, status: 200, want: []string{"mcp.tool=greet", "outcome=tool_error"}},
			{name: "an unknown tool", body: rpc("tools/call", `{"name":"none"}`), header: in, status: 200,
				want: []string{"mcp.tool=none", "outcome=invalid", "reason=params_invalid", "detail="}},
			{name: "an unknown method", body: rpc("foo/bar", "{}"), header: in, status: 200, want: []string{"mcp.method=foo/bar", "outcome=invalid", "reason=method_unknown", "detail="}},
			{name: "a notification", body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`, header: in, status: 202, want: []string{"mcp.method=notifications/initialized", "outcome=ok"}},
			{name: "an unknown session", body: rpc("tools/call", whoami), header: with(in, "Mcp-Session-Id", "x"), status: 404, want: []string{"mcp.tool=whoami", "outcome=invalid", "reason=session_unknown", "detail="}},
			{name: "no JSON", body: `{"canary`, header: in, status: 400, want: []string{"outcome=invalid", "reason=message_malformed", "detail="}},
			{name: "one form of an answer", body: rpc("tools/list", "{}"), header: with(in, "Accept", "application/json"), status: 400,
				want: []string{"outcome=invalid", "reason=media_type_refused", "detail="}},
			{name: "another content type", body: rpc("tools/list", "{}"), header: with(in, "Content-Type", "text/plain"), status: 415,
				want: []string{"outcome=invalid", "reason=media_type_refused", "detail="}},
			{name: "another HTTP method", method: http.MethodPut, body: rpc("tools/list", "{}"), header: in, status: 405, want: []string{"method=PUT", "outcome=invalid", "reason=http_method_refused", "detail="}},
			{name: "the end", method: http.MethodDelete, header: in, status: 204, want: []string{"method=DELETE", "outcome=ok", "mcp.protocol_version=2025-11-25"}},
		})
	})

	t.Run("older versions without sessions", func(t *testing.T) {
		h := startHouse(t, map[string]string{"mcp.era": "stateless"})
		token := h.token(t, "alice", "mcp:use", "greet:read")
		old := map[string]string{"Mcp-Protocol-Version": "2025-11-25"}
		h.wantLines(t, token, []loggedCall{
			{name: "a call", body: rpc("tools/call", whoami), header: old, status: 200, want: []string{"mcp.tool=whoami", "mcp.protocol_version=2025-11-25", "outcome=ok"}},
			{name: "a tool error", body: rpc("tools/call", failing), header: old, status: 200, want: []string{"mcp.tool=greet", "outcome=tool_error"}},
			{name: "a call that the SDK's handler serves", body: strings.Replace(rpc("tools/call", whoami), `"id":7`, `"id":-7`, 1), header: old, status: 200,
				want: []string{"mcp.tool=whoami", "outcome=ok"}},
			{name: "a tool error in it", body: strings.Replace(rpc("tools/call", failing), `"id":7`, `"id":-7`, 1), header: old, status: 200,
				want: []string{"mcp.tool=greet", "outcome=tool_error"}},
			{name: "an unknown tool in it", body: strings.Replace(rpc("tools/call", `{"name":"none"}`), `"id":7`, `"id":-7`, 1), header: old, status: 200,
				want: []string{"mcp.tool=none", "outcome=invalid", "reason=params_invalid", "detail="}},
			{name: "one form of an answer", body: rpc("tools/list", "{}"), header: with(old, "Accept", "application/json"), status: 400,
				want: []string{"reason=media_type_refused", "detail="}},
			{name: "another content type", body: rpc("tools/list", "{}"), header: with(old, "Content-Type", "text/plain"), status: 415, want: []string{"reason=media_type_refused", "detail="}},
			{name: "another HTTP method", method: http.MethodGet, header: old, status: 405, want: []string{"reason=http_method_refused", "detail="}},
			{name: "a modern header without its _meta", body: rpc("tools/list", "{}"), header: map[string]string{"Mcp-Protocol-Version": "2026-07-28"}, status: 400,
				want: []string{"outcome=invalid", "reason=", "detail="}},
			{name: "an unknown method", body: rpc("foo/bar", `{"x":"canary"}`), header: old, status: 400, want: []string{"reason=method_unknown", "detail="}},
		})
	})
}

// A JSON log with bare nanoseconds cannot be read without the source code.
func TestDurationsInTheLogCarryTheirUnit(t *testing.T) {
	keepDefaultLogger(t)
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		logger := newLogger(configs.Log{Level: "info", Format: format}, &out)
		logger.Info("x", "drain_time", 1500*time.Millisecond, slog.Group("in", "wait", 2*time.Second))
		if format == "text" {
			if !strings.Contains(out.String(), "drain_time=1.5s in.wait=2s") {
				t.Errorf("text: %s", &out)
			}
			continue
		}
		var line struct {
			DrainTime any `json:"drain_time"`
			In        struct{ Wait any }
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.DrainTime != "1.5s" || line.In.Wait != "2s" {
			t.Errorf("json: %s, %v", &out, err)
		}
	}
}
