package mcphttp

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// refusingAuditor is an [Auditor] whose log cannot be written.
type refusingAuditor struct{ asked atomic.Int64 }

func (a *refusingAuditor) BeginCall(context.Context) error {
	a.asked.Add(1)
	return providers.Unavailablef("test_unavailable", "the disk is full")
}

// On each of the ways that a call can take, it does not run if its record cannot be written.
func TestAuditor_RefusedCallDoesNotRun(t *testing.T) {
	var ran atomic.Int64
	count := newTool("count", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		ran.Add(1)
		return text("done"), nil
	})
	auditor := &refusingAuditor{}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{count}}, func(c *Config) { c.Auditor = auditor })
	url := serve(t, h, time.Now().Add(time.Hour))
	inSession := legacy("tools/call", `"name":"count"`).with(sessionHeader, openSession(t, url))
	for name, post := range map[string]testPost{
		"without a session": modernCall("count", "{}"),
		"in a session":      inSession,
		"by the SDK":        modernCall("count", "{}").replaced(`"id":7`, `"id":7.0`),
	} {
		before := auditor.asked.Load()
		resp, err := http.DefaultTransport.RoundTrip(post.to(url))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" ||
			resp.Header.Get(reasonHeader) != "test_unavailable" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
		if n := auditor.asked.Load() - before; n != 1 {
			t.Errorf("%s: the auditor was called %d times", name, n)
		}
	}
	before := auditor.asked.Load()
	resp, err := http.DefaultTransport.RoundTrip(modern("tools/list", "").to(url))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || auditor.asked.Load() != before {
		t.Errorf("a list is no call: %d", resp.StatusCode)
	}
	if ran.Load() > 0 {
		t.Errorf("the tool ran %d times", ran.Load())
	}
}

// detaching records the ends of calls that continue after their request.
type detaching struct {
	headerRecorder
	detached chan struct{}
	ends     chan Result
}

func (d detaching) DetachOperation(context.Context) func(Result) {
	d.detached <- struct{}{}
	return func(r Result) { d.ends <- r }
}

// The end of a call whose client hung up is recorded when the call ends: with its result, or as canceled if
// the session ended before.
func TestSession_CallWithoutItsClientIsRecordedAtItsEnd(t *testing.T) {
	begun, over := make(chan struct{}), make(chan struct{})
	slow := newTool("slow", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		begun <- struct{}{}
		<-over
		return &mcp.CallToolResult{IsError: true}, nil
	})
	endless := newTool("endless", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	recorder := detaching{detached: make(chan struct{}, 1), ends: make(chan Result, 10)}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{slow, endless}}, func(c *Config) { c.Recorder = recorder })
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	for _, c := range []struct {
		tool string
		end  func()
		want Outcome
	}{
		{"slow", func() { close(over) }, OutcomeToolError},
		{"endless", func() { request(t, http.MethodDelete, url, "", in) }, OutcomeCanceled},
	} {
		ctx, hangUp := context.WithCancel(context.Background())
		call := testPost{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + c.tool + `"}}`, in}
		go func() {
			if resp, err := bearerClient().Do(call.to(url).WithContext(ctx)); err == nil {
				resp.Body.Close()
			}
		}()
		<-begun
		hangUp()
		<-recorder.detached
		select {
		case r := <-recorder.ends:
			t.Errorf("its end is recorded before it ended: %+v", r)
		default:
		}
		c.end()
		select {
		case r := <-recorder.ends:
			if r.Outcome != c.want {
				t.Errorf("it ended with %+v, want %s", r, c.want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("its end was not recorded")
		}
	}
	if len(recorder.ends) > 0 {
		t.Error("an end was recorded twice")
	}
}

// Names and parameters reach the recorder, for the audit log.
func TestRecorder_ReceivesTargetAndParams(t *testing.T) {
	for name, c := range map[string]struct {
		post testPost
		want Operation
	}{
		"a tool":     {modernCall("greet", `{"name":"Ada"}`), Operation{Tool: "greet"}},
		"a prompt":   {modern("prompts/get", `"name":"plan"`).with(nameHeader, "plan"), Operation{Prompt: "plan"}},
		"a resource": {modern("resources/read", `"uri":"doc://a"`).with(nameHeader, "doc://a"), Operation{URI: "doc://a"}},
		"a list":     {modern("tools/list", ""), Operation{}},
	} {
		recorded := &lastOperation{}
		h := handlerOf(fullCatalog(), func(c *Config) { c.Recorder = recorded })
		_, _, done := h.Route(c.post.request())
		done()
		got := recorded.operation
		if got.Tool != c.want.Tool || got.Prompt != c.want.Prompt || got.URI != c.want.URI {
			t.Errorf("%s: %+v", name, got)
		}
		if hasParams := c.want.Tool+c.want.Prompt != ""; hasParams != strings.Contains(string(got.Params), `"name"`) {
			t.Errorf("%s: params %s", name, got.Params)
		}
	}
}

type lastOperation struct {
	discard
	operation Operation
}

func (l *lastOperation) RecordOperation(_ context.Context, o Operation) { l.operation = o }
