package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/server/audit"
)

// convention is a frozen copy of an attribute list of the OpenTelemetry semantic conventions: for MCP of
// semantic-conventions-genai v0.1.0 (model/mcp), for HTTP of semantic-conventions v1.43.0.
type convention map[string]struct {
	level string // required, conditional, recommended or opt-in
	value any    // of the type of the values
}

func operationConvention() convention {
	return convention{
		"mcp.method.name":          {"required", ""},
		"error.type":               {"conditional", ""},
		"gen_ai.tool.name":         {"conditional", ""},
		"gen_ai.prompt.name":       {"conditional", ""},
		"rpc.response.status_code": {"conditional", ""},
		"gen_ai.operation.name":    {"recommended", ""},
		"mcp.protocol.version":     {"recommended", ""},
		"network.transport":        {"recommended", ""},
		"network.protocol.name":    {"recommended", ""},
		"network.protocol.version": {"recommended", ""},
	}
}

// operationSpanConvention has what only spans have. It lacks gen_ai.tool.call.arguments, gen_ai.tool.call.result and
// gen_ai.prompt.variable, which are opt-in and never recorded, and client.port, which is that of the proxy.
func operationSpanConvention() convention {
	c := operationConvention()
	maps.Copy(c, convention{
		"jsonrpc.request.id": {"conditional", ""},
		"mcp.resource.uri":   {"conditional", ""},
		"mcp.session.id":     {"recommended", ""},
		"client.address":     {"recommended", ""},
	})
	return c
}

func sessionConvention() convention {
	return convention{
		"error.type":            {"conditional", ""},
		"mcp.protocol.version":  {"recommended", ""},
		"network.transport":     {"recommended", ""},
		"network.protocol.name": {"recommended", ""},
	}
}

func requestConvention() convention {
	return convention{
		"http.request.method":       {"required", ""},
		"url.scheme":                {"required", ""},
		"http.route":                {"conditional", ""},
		"http.response.status_code": {"conditional", int64(0)},
		"error.type":                {"conditional", ""},
		"network.protocol.version":  {"recommended", ""},
	}
}

func requestSpanConvention() convention {
	c := requestConvention()
	maps.Copy(c, convention{
		"url.path":                     {"required", ""},
		"http.request.method_original": {"conditional", ""},
		"client.address":               {"recommended", ""},
		"server.address":               {"recommended", ""},
	})
	return c
}

// check compares attributes with the convention. Those of this program begin with gatehouse.
func (c convention) check(t *testing.T, what string, attributes map[string]any, own ...string) {
	t.Helper()
	for name, known := range c {
		if value, has := attributes[name]; !has && known.level == "required" {
			t.Errorf("%s lacks %s: %v", what, name, attributes)
		} else if has && fmt.Sprintf("%T", value) != fmt.Sprintf("%T", known.value) {
			t.Errorf("%s: %s is a %T", what, name, value)
		} else if has && value == "" {
			t.Errorf("%s: %s is empty", what, name)
		}
	}
	for name := range attributes {
		if _, known := c[name]; !known && !slices.Contains(own, name) {
			t.Errorf("%s has %s: %v", what, name, attributes)
		}
	}
}

// operationCase is a request of the script, and what its operation is recorded with.
type operationCase struct {
	request
	name, spanName                       string
	errorType, code, reason, uri, target string
}

func operationCases() []operationCase {
	tool := func(name, arguments string) request {
		body, header := callModern(name, arguments)
		return request{body: body, header: header}
	}
	coded := func(code int) request { return tool("trace", fmt.Sprintf(`{"code":%d}`, code)) }
	resource := func(uri string) request {
		return modernRequest("resources/read", fmt.Sprintf(`"uri":%q`, uri)).with("Mcp-Name", uri)
	}
	cases := []operationCase{
		{name: "a call", request: tool("greet", `{"name":"Ada"}`), spanName: "tools/call greet", target: "greet"},
		{name: "an error of a tool", request: coded(-1), spanName: "tools/call trace", target: "trace",
			errorType: "tool_error"},
		{name: "an internal error", request: coded(-32603), spanName: "tools/call trace", target: "trace",
			errorType: "-32603", code: "-32603", reason: "internal_error"},
		{name: "a code of the tool's own", request: coded(-31999), spanName: "tools/call trace", target: "trace",
			errorType: "_OTHER", code: "_OTHER"},
		{name: "an unknown tool", request: tool("nothing", "{}"), spanName: "tools/call", target: "_OTHER",
			code: "-32602", reason: "params_invalid"},
		{name: "an unknown method", request: modernRequest("canary/method", ""), spanName: "_OTHER", code: "-32601",
			reason: "method_unknown"},
		{name: "a prompt", request: modernRequest("prompts/get", `"name":"plan"`).with("Mcp-Name", "plan"),
			spanName: "prompts/get plan"},
		{name: "a resource", request: resource("doc://a"), spanName: "resources/read", uri: "doc://a"},
		{name: "a resource of a template", request: resource("note://canary"), spanName: "resources/read",
			uri: "note://{id}"},
		{name: "an unknown resource", request: resource("canary://x"), spanName: "resources/read", code: "-32602",
			reason: "params_invalid"},
		{name: "a list", request: modernRequest("tools/list", ""), spanName: "tools/list"},
		{name: "discovery", request: modernRequest("server/discover", ""), spanName: "server/discover"},
		{name: "a missing scope", request: tool("stats", "{}"), spanName: "tools/call stats", target: "stats",
			reason: "insufficient_scope"},
		{name: "served by the SDK", request: tool("greet", `{"name":"Ada"}`).withBody(`"id":7`, `"id":7.0`),
			spanName: "tools/call greet", target: "greet"},
		{name: "refused by the SDK", request: tool("greet", `{}`).with("Mcp-Name", "other"),
			spanName: "tools/call greet", target: "greet", errorType: "-32020", code: "-32020", reason: "header_mismatch"},
		{name: "an unsupported version", request: modernRequest("tools/list", "").with("Mcp-Protocol-Version", "2020-01-01"),
			spanName: "tools/list", errorType: "-32022", code: "-32022", reason: "version_unsupported"},
		{name: "a message without params", request: modernRequest("tools/call", ""), spanName: "tools/call",
			code: "-32602", reason: "message_malformed"},
	}
	// The codes that are no error of the server (open-telemetry/semantic-conventions-genai, PR 404).
	for code, reason := range map[int]string{
		-32700: "message_malformed", -32600: "message_malformed", -32601: "method_unknown", -32602: "params_invalid",
		-32002: "",
	} {
		cases = append(cases, operationCase{name: fmt.Sprintf("code %d", code), request: coded(code), code: fmt.Sprint(code),
			spanName: "tools/call trace", target: "trace", reason: reason})
	}
	return cases
}

// Everything that a run on both eras records is what the conventions say, and nothing else.
func TestTelemetry_FollowsTheConventions(t *testing.T) {
	t.Parallel()
	collector := newTestCollector(t)
	srv := startServer(t, map[string]string{"mcp.call_timeout": "1s"}, collector.use)
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	cases := operationCases()
	for i, c := range cases {
		c.with("X-Request-Id", fmt.Sprintf("request-%02d", i)).send(t, srv, token)
	}
	session := srv.openSession(t, token)
	inSession := func(body string) request {
		return request{body: body}.with("Mcp-Session-Id", session, "Mcp-Protocol-Version", "2025-11-25")
	}
	call, _ := callLegacy("greet", `{"name":"Ada"}`, session)
	slow, _ := callLegacy("wait", `{"steps":1}`, session)
	for id, r := range map[string]request{
		"session-call":    inSession(call),
		"session-timeout": inSession(slow),
		"session-notify":  inSession(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}`),
		"session-ping":    inSession(`{"jsonrpc":"2.0","id":5,"method":"ping"}`),
		"session-answer":  inSession(`{"jsonrpc":"2.0","id":5,"result":{}}`), // no operation
		"malformed":       {body: `{"canary`},                                // none either
		"unknown-path":    {method: http.MethodGet},
	} {
		r.with("X-Request-Id", "request-"+id).send(t, srv, token)
	}
	inSession("").by(http.MethodDelete).with("X-Request-Id", "request-delete").send(t, srv, token)
	send(t, http.MethodPost, srv.url, "", "{}", map[string]string{"X-Request-Id": "request-stranger"})
	send(t, http.MethodGet, srv.origin()+"/canary-path?token=canary-query", "", "",
		map[string]string{"X-Request-Id": "request-404"})
	send(t, http.MethodGet, srv.origin()+"/health", "", "", map[string]string{"X-Request-Id": "request-probe"})
	srv.stop()

	for i, c := range cases {
		http := collector.find(t, "gatehouse.request.id", fmt.Sprintf("request-%02d", i))
		spans := slices.DeleteFunc(collector.all(), func(s receivedSpan) bool { return s.parent != http.id })
		if len(spans) != 1 {
			t.Errorf("%s: %d operations: %+v", c.name, len(spans), spans)
			continue
		}
		got := spans[0]
		text := func(key string) string { v, _ := got.attributes[key].(string); return v }
		have := []string{
			got.name, text("error.type"), text("rpc.response.status_code"), text("gatehouse.reason"), text("mcp.resource.uri"),
			text("gen_ai.tool.name"),
		}
		want := []string{c.spanName, c.errorType, c.code, c.reason, c.uri, c.target}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s: name, error.type, code, reason, uri, tool: %s", c.name, diff)
		}
		if isError := got.status == "error"; isError != (c.errorType != "") {
			t.Errorf("%s: status %s", c.name, got.status)
		}
		if http.trace != got.trace || http.status == "error" {
			t.Errorf("%s: %+v of %+v", c.name, got, http)
		}
	}
	checkSpansAndSeries(t, collector, session)
}

// checkSpansAndSeries checks that the spans and the metrics of a run say the same.
func checkSpansAndSeries(t *testing.T, collector *testCollector, session string) {
	points, units := collector.series()
	counted := map[string]map[string]uint64{}
	for name, check := range map[string]convention{
		"mcp.server.operation.duration": operationConvention(), "mcp.server.session.duration": sessionConvention(),
		"http.server.request.duration": requestConvention(),
	} {
		if units[name] != "s" || len(points[name]) == 0 {
			t.Errorf("%s has unit %q and %d series", name, units[name], len(points[name]))
		}
		counted[name] = map[string]uint64{}
		for _, p := range points[name] {
			check.check(t, name, p.attributes, "gatehouse.reason")
			counted[name][fmt.Sprint(p.attributes)] += p.count
		}
	}
	seen := map[string]map[string]uint64{"mcp.server.operation.duration": {}, "http.server.request.duration": {}}
	for _, s := range collector.all() {
		metric, ofMetric, check := "http.server.request.duration", requestConvention(), requestSpanConvention()
		if s.attributes["mcp.method.name"] != nil {
			metric, ofMetric, check = "mcp.server.operation.duration", operationConvention(), operationSpanConvention()
			ofMetric["gatehouse.reason"] = struct {
				level string
				value any
			}{}
		}
		check.check(t, "span "+s.name, s.attributes, "gatehouse.reason", "gatehouse.request.id")
		maps.DeleteFunc(s.attributes, func(name string, _ any) bool { _, has := ofMetric[name]; return !has })
		seen[metric][fmt.Sprint(s.attributes)]++
	}
	for metric, all := range seen {
		if diff := cmp.Diff(all, counted[metric]); diff != "" {
			t.Errorf("%s: spans and series differ: %s", metric, diff)
		}
	}
	ofSession := collector.find(t, "gatehouse.request.id", "request-session-call")
	for _, s := range collector.all() {
		if s.parent == ofSession.id && s.attributes["mcp.session.id"] != audit.HashSession(session) {
			t.Errorf("the session of %+v", s)
		}
	}
	ofTimeout := collector.find(t, "gatehouse.request.id", "request-session-timeout")
	for _, s := range collector.all() {
		if s.parent == ofTimeout.id && (s.attributes["error.type"] != "timeout" || s.status != "error") {
			t.Errorf("the call that timed out: %+v", s)
		}
	}
	for id, want := range map[string]int{
		"session-notify": 1, "session-ping": 1, "session-answer": 0, "malformed": 0, "delete": 0, "stranger": 0, "404": 0,
	} {
		request := collector.find(t, "gatehouse.request.id", "request-"+id)
		n := 0
		for _, s := range collector.all() {
			if s.parent == request.id {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d operations, want %d", id, n, want)
		}
	}
	if strings.Contains(collector.raw.String(), "request-probe") {
		t.Error("a probe is recorded")
	}
}

// The parent of an operation is the span that its message names, and the span of the request is a link then; otherwise
// that is the parent. It is so on each of the ways that a call can take, and the tool's context has the span.
func TestTelemetry_ParentsAndLinks(t *testing.T) {
	t.Parallel()
	const inMessage, ofMessage = "11111111111111111111111111111111", "1111111111111111"
	const inHeader, ofHeader = "22222222222222222222222222222222", "2222222222222222"
	collector := newTestCollector(t)
	dual := startServer(t, nil, collector.use)
	stateless := startServer(t, map[string]string{"mcp.era": "stateless"}, collector.use)
	tokens := map[*testServer]string{}
	for _, srv := range []*testServer{dual, stateless} {
		tokens[srv] = srv.token(t, "alice", "mcp:use")
	}
	modernBody, modernHeader := callModern("trace", "{}")
	session := dual.openSession(t, tokens[dual])
	legacyBody, legacyHeader := callLegacy("trace", "{}", "")
	modernCall := request{body: modernBody, header: modernHeader}
	legacyCall := request{body: legacyBody, header: legacyHeader}
	legacyCall.body = strings.Replace(legacyCall.body, `"arguments"`, `"_meta":{},"arguments"`, 1)
	n := 0
	type expected struct{ trace, parent, requestTrace, requestParent string } // "" means a new one
	want, got := map[string]expected{}, map[string]map[string]any{}
	for transport, c := range map[string]struct {
		srv *testServer
		request
	}{
		"2026-07-28":                   {dual, modernCall},
		"by the SDK":                   {dual, modernCall.withBody(`"id":7`, `"id":7.0`)},
		"in a session":                 {dual, legacyCall.with("Mcp-Session-Id", session)},
		"2025-11-25 without a session": {stateless, legacyCall},
	} {
		for _, hasMessage := range []bool{true, false} {
			for _, hasHeader := range []bool{true, false} {
				n++
				id := fmt.Sprintf("request-%02d", n)
				r, e := c.with("X-Request-Id", id), expected{}
				if hasHeader {
					r = r.with("Traceparent", "00-"+inHeader+"-"+ofHeader+"-01", "Tracestate", "vendor=header")
					e = expected{trace: inHeader, requestTrace: inHeader, requestParent: ofHeader}
				}
				if hasMessage {
					r = r.withBody(`"_meta":{`, `"_meta":{"traceparent":"00-`+inMessage+`-`+ofMessage+`-01",`+
						`"tracestate":"vendor=message",`)
					r = r.withBody(`message",}`, `message"}`)
					e.trace, e.parent = inMessage, ofMessage
				}
				answer := r.send(t, c.srv, tokens[c.srv])
				if answer.status != http.StatusOK {
					t.Fatalf("%s: %d %s", transport, answer.status, answer.body)
				}
				want[id], got[id] = e, structuredContent(t, answer)
			}
		}
	}
	dual.stop()
	stateless.stop()
	for id, e := range want {
		request := collector.find(t, "gatehouse.request.id", id)
		if e.requestTrace != "" && (request.trace != e.requestTrace || request.parent != e.requestParent) {
			t.Errorf("%s: the request is %+v", id, request)
		}
		inTool := fmt.Sprint(got[id]["span"])
		var operation receivedSpan
		for _, s := range collector.all() {
			if s.id == inTool {
				operation = s
			}
		}
		link := request.trace + " " + request.id
		switch {
		case operation.name != "tools/call trace" || operation.trace != got[id]["trace"]:
			t.Errorf("%s: the tool has span %s, the operation is %+v", id, inTool, operation)
		case e.parent != "" && (operation.trace != e.trace || operation.parent != e.parent ||
			len(operation.links) != 1 || operation.links[0] != link):
			t.Errorf("%s: %+v, want the parent in the message and a link to %s", id, operation, link)
		case e.parent == "" && (operation.trace != request.trace || operation.parent != request.id ||
			len(operation.links) != 0):
			t.Errorf("%s: %+v, want the parent %s", id, operation, link)
		}
	}
}

// What a stranger sends decides neither the trace nor whether it is recorded. A caller with a valid token decides for
// their own trace.
func TestTelemetry_StrangersDoNotDecideWhatIsRecorded(t *testing.T) {
	t.Parallel()
	const theirs = "33333333333333333333333333333333"
	for name, c := range map[string]struct {
		sample                       float64
		isSignedIn, sampled          bool
		wantRecorded, wantTheirTrace bool
	}{
		"a stranger, all recorded":    {1, false, true, true, false},
		"not sampled, all recorded":   {1, false, false, true, false},
		"a stranger, none recorded":   {0, false, true, false, false},
		"a caller, none recorded":     {0, true, true, true, true},
		"a caller without the flag":   {1, true, false, false, false},
		"a caller, all recorded, too": {1, true, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := newTestCollector(t)
			srv := startServer(t, nil, collector.use, sampleOf(c.sample))
			token := ""
			if c.isSignedIn {
				token = srv.token(t, "alice", "mcp:use")
			}
			flag := "00"
			if c.sampled {
				flag = "01"
			}
			modernRequest("tools/list", "").with("X-Request-Id", "request-1",
				"Traceparent", "00-"+theirs+"-4444444444444444-"+flag).send(t, srv, token)
			srv.stop()
			var found []receivedSpan
			for _, s := range collector.all() {
				if s.attributes["gatehouse.request.id"] == "request-1" {
					found = append(found, s)
				}
			}
			if len(found) > 0 != c.wantRecorded {
				t.Errorf("recorded: %+v, want %t", found, c.wantRecorded)
			}
			if len(found) > 0 && (found[0].trace == theirs) != c.wantTheirTrace {
				t.Errorf("trace %s", found[0].trace)
			}
		})
	}
}

// The sessions of a run are measured, however they end.
func TestTelemetry_MeasuresSessions(t *testing.T) {
	t.Parallel()
	collector, folder := newTestCollector(t), newAuditFolder(t)
	srv := startServer(t, map[string]string{"mcp.max_sessions_per_user": "2"}, collector.use, folder.use)
	token := srv.token(t, "alice", "mcp:use")
	deleted := srv.openSession(t, token)
	request{method: http.MethodDelete}.with("Mcp-Session-Id", deleted).send(t, srv, token)
	replaced := srv.openSession(t, token)
	stopped := []string{srv.openSession(t, token), srv.openSession(t, token)}
	srv.stop()
	points, _ := collector.series()
	var n uint64
	for _, p := range points["mcp.server.session.duration"] {
		n += p.count
		if p.attributes["mcp.protocol.version"] != "2025-11-25" || p.attributes["error.type"] != nil {
			t.Errorf("%+v", p)
		}
	}
	if n != 4 {
		t.Errorf("%d sessions were measured, want 4", n)
	}
	ends := map[any]string{}
	for _, r := range folder.records(t, func(r auditRecord) bool { return r["event"] == "session.end" }) {
		ends[r["session"]] += fmt.Sprint(r["outcome"])
		if r["sub"] != "alice" || r["iss"] != srv.origin() || r["us"] == nil || r["config"] == nil ||
			r["protocol"] == nil && r["outcome"] != "ok" {
			t.Errorf("%v", r)
		}
	}
	want := map[any]string{audit.HashSession(deleted): "ok", audit.HashSession(replaced): "replaced"}
	for _, session := range stopped {
		want[audit.HashSession(session)] = "stopped"
	}
	if diff := cmp.Diff(want, ends); diff != "" {
		t.Errorf("ends in the audit log: %s", diff)
	}
	folder.verify(t)
}

// An audit record has the trace of the span.
func TestTelemetry_AuditRecordHasTheTrace(t *testing.T) {
	t.Parallel()
	collector, folder := newTestCollector(t), newAuditFolder(t)
	srv := startServer(t, nil, collector.use, folder.use)
	token := srv.token(t, "alice", "mcp:use")
	body, header := callModern("trace", "{}")
	answer := request{body: body, header: header}.with("X-Request-Id", "request-1").send(t, srv, token)
	record := folder.wait(t, "request-1")
	if want := structuredContent(t, answer)["trace"]; record["trace_id"] != want || want == strings.Repeat("0", 32) {
		t.Errorf("trace %v, want %v", record["trace_id"], want)
	}
}

// A call whose client hung up is recorded when it ends.
func TestTelemetry_DetachedCallIsRecordedAtItsEnd(t *testing.T) {
	t.Parallel()
	collector := newTestCollector(t)
	srv := startServer(t, nil, collector.use)
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	session := srv.openSession(t, token)
	body, header := callLegacy("wait", `{"steps":1}`, session)
	header["X-Request-Id"] = "request-wait"
	hangUpAfter(t, srv, token, body, header, 200*time.Millisecond)
	time.Sleep(100 * time.Millisecond)
	request{method: http.MethodDelete}.with("Mcp-Session-Id", session).send(t, srv, token)
	<-srv.cancelled
	srv.stop()
	request := collector.find(t, "gatehouse.request.id", "request-wait")
	operation := collector.find(t, "gen_ai.tool.name", "wait")
	if operation.parent != request.id || operation.attributes["mcp.session.id"] != audit.HashSession(session) {
		t.Errorf("%+v", operation)
	}
	if later := operation.end.Sub(request.end); later < 50*time.Millisecond {
		t.Errorf("the operation ended %s after its request", later)
	}
	points, _ := collector.series()
	for _, p := range points["mcp.server.operation.duration"] {
		if p.attributes["gen_ai.tool.name"] == "wait" && p.count != 1 {
			t.Errorf("%+v", p)
		}
	}
}
