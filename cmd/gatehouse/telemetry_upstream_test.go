package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// What a caller sends about its trace, in the message or in headers.
const (
	callerTrace  = "11111111111111111111111111111111"
	callerParent = "00-" + callerTrace + "-1111111111111111-01"
)

// callWithTrace calls a tool in both eras, with the trace in the message and in the headers, and returns what the
// upstream got in _meta besides the members that every request of MCP 2026-07-28 has.
func callWithTrace(t *testing.T, srv *testServer, token, tool string) (metas []map[string]any) {
	t.Helper()
	const state = "vendor=canary"
	modernBody, modernHeader := callModern(tool, "{}")
	legacyBody, legacyHeader := callLegacy(tool, "{}", srv.openSession(t, token))
	legacyBody = strings.Replace(legacyBody, `"arguments"`, `"_meta":{},"arguments"`, 1)
	for _, r := range []request{{body: modernBody, header: modernHeader}, {body: legacyBody, header: legacyHeader}} {
		inHeader := r.with("Traceparent", callerParent, "Tracestate", state, "Baggage", "user=canary")
		inMessage := r.withBody(`"_meta":{`, `"_meta":{"traceparent":"`+callerParent+`","tracestate":"`+state+
			`","baggage":"user=canary",`)
		inMessage.body = strings.Replace(inMessage.body, `canary",}`, `canary"}`, 1)
		for _, one := range []request{inHeader, inMessage} {
			answer := one.send(t, srv, token)
			var message struct {
				Result struct{ Content []struct{ Text string } }
			}
			_, data, isEvent := strings.Cut(answer.body, "data: ")
			if !isEvent {
				data = answer.body
			}
			if err := json.Unmarshal([]byte(data), &message); err != nil || len(message.Result.Content) != 1 {
				t.Fatalf("%d %s: %v", answer.status, answer.body, err)
			}
			var meta map[string]any
			if err := json.Unmarshal([]byte(message.Result.Content[0].Text), &meta); err != nil {
				t.Fatal(err)
			}
			maps.DeleteFunc(meta, func(name string, _ any) bool {
				return strings.HasPrefix(name, "io.modelcontextprotocol/")
			})
			metas = append(metas, meta)
		}
	}
	return metas
}

// A relayed call has a span of its own, which the upstream gets as the parent of its own, and nothing else of the
// caller's trace context.
func TestTelemetry_TracesRelayedCalls(t *testing.T) {
	t.Parallel()
	collector := newTestCollector(t)
	web := overHTTP(t, "ops", &mcp.StreamableHTTPOptions{Stateless: true})
	settings := withFixture(t, map[string]string{"upstreams.web.url": web, "upstreams.web.tools": "*"},
		"notes", "ops", "tools=*")
	srv := startServer(t, settings, collector.use)
	token := srv.token(t, "alice", "mcp:use")
	metas := map[string][]map[string]any{}
	for _, name := range []string{"notes", "web"} {
		metas[name] = callWithTrace(t, srv, token, name+"_meta")
	}
	body, header := callModern("notes_die", "{}")
	request{body: body, header: header}.with("X-Request-Id", "died").send(t, srv, token)
	srv.stop()

	spans := collector.all()
	byID := map[string]receivedSpan{}
	for _, s := range spans {
		byID[s.id] = s
	}
	convention := operationConvention()
	for _, name := range []string{"notes", "web"} {
		for _, meta := range metas[name] {
			parent, _ := meta["traceparent"].(string)
			parts := strings.Split(parent, "-")
			if len(meta) != 1 || len(parts) != 4 || parts[0] != "00" || parts[1] != callerTrace || parts[3] != "01" {
				t.Errorf("%s: the upstream got %v", name, meta)
				continue
			}
			span := byID[parts[2]]
			if operation := byID[span.parent]; span.name != "tools/call meta (SPAN_KIND_CLIENT)" || span.trace != callerTrace ||
				span.status == "error" || operation.name != "tools/call "+name+"_meta" {
				t.Errorf("%s: %+v in %+v", name, span, operation)
			}
			convention.check(t, name, span.attributes, "gatehouse.upstream")
			transport := map[string]string{"notes": "pipe", "web": "tcp"}[name]
			if a := span.attributes; a["gatehouse.upstream"] != name || a["network.transport"] != transport ||
				a["mcp.protocol.version"] != modern {
				t.Errorf("%s: %v", name, a)
			}
		}
	}
	died := slices.DeleteFunc(spans, func(s receivedSpan) bool { return !strings.HasPrefix(s.name, "tools/call die") })
	if len(died) != 1 || died[0].status != "error" || died[0].attributes["error.type"] != "upstream_lost" ||
		died[0].attributes["gatehouse.reason"] != "upstream_lost" {
		t.Errorf("%+v", died)
	}
	if text := collector.raw.String(); strings.Contains(text, "user=canary") {
		t.Error("the baggage of the caller is recorded")
	}
}

// Without traces, _meta is built from nothing: the trace of the caller is not passed on, because this server is not
// part of it.
func TestTelemetry_WithoutTracesNoneIsPassedOn(t *testing.T) {
	t.Parallel()
	web := overHTTP(t, "ops", &mcp.StreamableHTTPOptions{Stateless: true})
	settings := withFixture(t, map[string]string{"upstreams.web.url": web, "upstreams.web.tools": "*"},
		"notes", "ops", "tools=*")
	srv := startServer(t, settings, usePrometheus)
	token := srv.token(t, "alice", "mcp:use")
	for _, name := range []string{"notes", "web"} {
		for i, meta := range callWithTrace(t, srv, token, name+"_meta") {
			if diff := cmp.Diff(map[string]any{}, meta); diff != "" {
				t.Errorf("%s: %s", name, fmt.Sprint(i, diff))
			}
		}
	}
}

// A trace that is not sampled continues as such, and is not exported.
func TestTelemetry_UnsampledTracesStayUnsampled(t *testing.T) {
	t.Parallel()
	collector := newTestCollector(t)
	settings := withFixture(t, map[string]string{}, "notes", "ops", "tools=*")
	srv := startServer(t, settings, collector.use, sampleOf(0))
	token := srv.token(t, "alice", "mcp:use")
	body, header := callModern("notes_meta", "{}")
	answer := request{body: body, header: header}.
		with("Traceparent", strings.TrimSuffix(callerParent, "01")+"00").send(t, srv, token)
	if !strings.Contains(answer.body, `00-`+callerTrace) || !strings.Contains(answer.body, `-00\"`) {
		t.Errorf("the upstream got %s", answer.body)
	}
	srv.stop()
	for _, s := range collector.all() {
		t.Errorf("%+v", s)
	}
}
