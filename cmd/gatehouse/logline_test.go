package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/configs"
)

// loggedCall is one message, and what its line in the access log contains.
type loggedCall struct {
	name string
	request
	status int
	want   []string
}

func rpc(method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":%s}`, method, params)
}

// logLine sends r, expects status, and returns the line of r in the access log.
func (srv *testServer) logLine(t *testing.T, token string, r request, status int) string {
	t.Helper()
	id := fmt.Sprintf("call-%d", time.Now().UnixNano())
	if r := r.with("X-Request-Id", id).send(t, srv, token); r.status != status {
		t.Errorf("got %d %s, want %d", r.status, r.body, status)
	}
	for range 200 { // the line is written after the response
		for line := range strings.Lines(srv.log.String()) {
			if strings.Contains(line, "msg=request ") && strings.Contains(line, "request_id="+id) {
				return line
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the access log has no line for the request")
	return ""
}

func (srv *testServer) wantLines(t *testing.T, token string, calls []loggedCall) {
	t.Helper()
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			line := srv.logLine(t, token, c.request, c.status)
			for _, want := range c.want {
				if !strings.Contains(line, want) {
					t.Errorf("the line lacks %s: %s", want, line)
				}
			}
			if strings.Contains(line, "canary") {
				t.Errorf("the line contains arguments of the call: %s", line)
			}
			if c.status < 300 && strings.Contains(line, "outcome=ok") && strings.Contains(line, "reason=") {
				t.Errorf("a successful call has a reason: %s", line)
			}
		})
	}
}

const (
	whoamiParams = `{"name":"whoami","arguments":{}}`
	wrongParams  = `{"name":"greet","arguments":{"name":7,"canary":1}}`
)

// The line names the operation and the outcome, whichever part of the handler serves the call.
func TestAccessLog_NamesOperationAndOutcome(t *testing.T) {
	t.Parallel()
	t.Run("2026-07-28", func(t *testing.T) {
		t.Parallel()
		srv := startServer(t, nil)
		tools := func(name, params string) request {
			members := strings.TrimSuffix(strings.TrimPrefix(params, "{"), "}")
			return modernRequest("tools/call", members).with("Mcp-Name", name)
		}
		call := tools("whoami", whoamiParams)
		const canary = `{"name":"greet","arguments":{"name":"canary"}}`
		srv.wantLines(t, srv.token(t, "alice", "mcp:use", "greet:read"), []loggedCall{
			{"a call", call, 200, []string{"mcp.method=tools/call", "mcp.tool=whoami",
				"mcp.protocol_version=2026-07-28", "outcome=ok", "method=POST"}},
			{"a tool error", tools("greet", wrongParams), 200, []string{"mcp.tool=greet", "outcome=tool_error"}},
			{"an unknown tool", tools("none", `{"name":"none","arguments":{"x":"canary"}}`), 400,
				[]string{"mcp.tool=none", "outcome=invalid", "reason=params_invalid",
					`detail="JSON-RPC error -32602: unknown tool"`}},
			{"a list", modernRequest("tools/list", ""), 200, []string{"mcp.method=tools/list", "outcome=ok"}},
			{"a request that the SDK's handler serves", modernRequest("server/discover", ""), 200,
				[]string{"mcp.method=server/discover", "outcome=ok", "mcp.protocol_version=2026-07-28"}},
			{"an unknown method", modernRequest("foo/bar", ""), 404,
				[]string{"mcp.method=foo/bar", "outcome=invalid", "reason=method_unknown", "detail="}},
			{"headers of another call", call.with("Mcp-Name", "other"), 400,
				[]string{"mcp.tool=whoami", "outcome=invalid", "reason=header_mismatch", "detail="}},
		})
		srv.wantLines(t, srv.token(t, "bob", "mcp:use"), []loggedCall{
			{"a call without its scope", tools("greet", canary), 403,
				[]string{"mcp.method=tools/call", "mcp.tool=greet", "outcome=denied", "reason=insufficient_scope",
					"caller.subject=bob"}},
		})
		srv.wantLines(t, "", []loggedCall{
			{"no token", tools("greet", canary), 401, []string{"outcome=unauthenticated", "reason=no_credentials"}},
		})
	})

	t.Run("a session", func(t *testing.T) {
		t.Parallel()
		srv := startServer(t, nil)
		token := srv.token(t, "alice", "mcp:use", "greet:read")
		session := srv.openSession(t, token)
		in := func(body string) request {
			return request{body: body}.with("Mcp-Session-Id", session, "Mcp-Protocol-Version", "2025-11-25")
		}
		list := in(rpc("tools/list", "{}"))
		put, end := list, in("")
		put.method, end.method = http.MethodPut, http.MethodDelete
		srv.wantLines(t, token, []loggedCall{
			{"initialize", request{body: initializeBody}.withBody("2025-11-25", "2025-06-18"), 200,
				[]string{"mcp.method=initialize", "mcp.protocol_version=2025-06-18", "outcome=ok"}},
			{"a call", in(rpc("tools/call", whoamiParams)), 200,
				[]string{"mcp.method=tools/call", "mcp.tool=whoami", "mcp.protocol_version=2025-11-25", "outcome=ok"}},
			{"a tool error", in(rpc("tools/call", wrongParams)), 200, []string{"mcp.tool=greet", "outcome=tool_error"}},
			{"an unknown tool", in(rpc("tools/call", `{"name":"none"}`)), 200,
				[]string{"mcp.tool=none", "outcome=invalid", "reason=params_invalid", "detail="}},
			{"an unknown method", in(rpc("foo/bar", "{}")), 200,
				[]string{"mcp.method=foo/bar", "outcome=invalid", "reason=method_unknown", "detail="}},
			{"a notification", in(initializedBody), 202,
				[]string{"mcp.method=notifications/initialized", "outcome=ok"}},
			{"an unknown session", in(rpc("tools/call", whoamiParams)).with("Mcp-Session-Id", "x"), 404,
				[]string{"mcp.tool=whoami", "outcome=invalid", "reason=session_unknown", "detail="}},
			{"no JSON", in(`{"canary`), 400, []string{"outcome=invalid", "reason=message_malformed", "detail="}},
			{"a single accepted type", list.with("Accept", "application/json"), 400,
				[]string{"outcome=invalid", "reason=media_type_refused", "detail="}},
			{"another content type", list.with("Content-Type", "text/plain"), 415,
				[]string{"outcome=invalid", "reason=media_type_refused", "detail="}},
			{"another HTTP method", put, 405,
				[]string{"method=PUT", "outcome=invalid", "reason=http_method_refused", "detail="}},
			{"the end", end, 204, []string{"method=DELETE", "outcome=ok", "mcp.protocol_version=2025-11-25"}},
		})
	})

	t.Run("older versions without sessions", func(t *testing.T) {
		t.Parallel()
		srv := startServer(t, map[string]string{"mcp.era": "stateless"})
		token := srv.token(t, "alice", "mcp:use", "greet:read")
		old := func(body string) request { return request{body: body}.with("Mcp-Protocol-Version", "2025-11-25") }
		// A negative id makes the SDK's handler serve the request.
		bySDK := func(params string) request { return old(rpc("tools/call", params)).withBody(`"id":7`, `"id":-7`) }
		list := old(rpc("tools/list", "{}"))
		get := old("")
		get.method = http.MethodGet
		srv.wantLines(t, token, []loggedCall{
			{"a call", old(rpc("tools/call", whoamiParams)), 200,
				[]string{"mcp.tool=whoami", "mcp.protocol_version=2025-11-25", "outcome=ok"}},
			{"a tool error", old(rpc("tools/call", wrongParams)), 200, []string{"mcp.tool=greet", "outcome=tool_error"}},
			{"a call by the SDK's handler", bySDK(whoamiParams), 200, []string{"mcp.tool=whoami", "outcome=ok"}},
			{"a tool error by the SDK's handler", bySDK(wrongParams), 200,
				[]string{"mcp.tool=greet", "outcome=tool_error"}},
			{"an unknown tool by the SDK's handler", bySDK(`{"name":"none"}`), 200,
				[]string{"mcp.tool=none", "outcome=invalid", "reason=params_invalid", "detail="}},
			{"a single accepted type", list.with("Accept", "application/json"), 400,
				[]string{"reason=media_type_refused", "detail="}},
			{"another content type", list.with("Content-Type", "text/plain"), 415,
				[]string{"reason=media_type_refused", "detail="}},
			{"another HTTP method", get, 405, []string{"reason=http_method_refused", "detail="}},
			{"a modern header without its _meta", list.with("Mcp-Protocol-Version", "2026-07-28"), 400,
				[]string{"outcome=invalid", "reason=", "detail="}},
			{"an unknown method", old(rpc("foo/bar", `{"x":"canary"}`)), 400, []string{"reason=method_unknown", "detail="}},
		})
	})
}

// The names are an interface: pipelines rename them by the table in server/README.md.
func TestAccessLog_NamesAreDocumented(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	call := modernRequest("tools/call", `"name":"whoami","arguments":{}`).with("Mcp-Name", "whoami")
	prompt := modernRequest("prompts/get", `"name":"none"`).with("Mcp-Name", "none")
	lines := srv.logLine(t, token, call, 200) + srv.logLine(t, token, prompt, 400)
	logged := map[string]bool{}
	quoted := regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	name := regexp.MustCompile(`(?m)(?:^| )([a-z_.]+)=`)
	for _, match := range name.FindAllStringSubmatch(quoted.ReplaceAllString(lines, ""), -1) {
		logged[match[1]] = true
	}
	_, table, _ := strings.Cut(read(t, "server/README.md"), "<!-- begin log names -->")
	table, _, _ = strings.Cut(table, "<!-- end log names -->")
	documented := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1) {
		documented[match[1]] = true
	}
	if diff := cmp.Diff(documented, logged); diff != "" {
		t.Errorf("server/README.md (-) and the log (+) differ: %s\n%s", diff, lines)
	}
}

// Bare nanoseconds in a JSON log cannot be read without the source code.
func TestLog_DurationsHaveUnits(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		logger := newLogger(format, slog.LevelInfo, &out)
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

// Libraries log to slog's default logger; what they log below level warn is left out.
func TestLog_DefaultLoggerIsForWarnings(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var libraries *slog.Logger
	c := console{stderr: &out, setDefaultLogger: func(l *slog.Logger) { libraries = l }}
	own, level := c.newLogger(configs.Log{Level: "debug", Format: "text"})
	for _, now := range []slog.Level{slog.LevelDebug, slog.LevelError, slog.LevelInfo} {
		level.Set(now)
		out.Reset()
		own.Debug("own debug")
		libraries.Info("library info")
		libraries.Warn("library warning")
		got := out.String()
		if strings.Contains(got, "own debug") != (now == slog.LevelDebug) || strings.Contains(got, "library info") ||
			strings.Contains(got, "library warning") == (now == slog.LevelError) {
			t.Errorf("at level %s the log is\n%s", now, got)
		}
	}
	out.Reset()
	level.Set(slog.LevelInfo)
	for range 1000 { // refused token requests of a stranger
		libraries.Warn("request error")
	}
	if lines := strings.Count(out.String(), "\n"); lines > 600 {
		t.Errorf("the log has %d lines", lines)
	}
}
