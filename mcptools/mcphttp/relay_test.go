package mcphttp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// verbatim has what a typed round trip would change: a member that the SDK does not know, two spellings of numbers,
// an integer beyond 2^53, an escape, characters that HTML escapes, and the order of the members.
const verbatim = `{"zulu":{"n":9223372036854775807,"f":1.10},"content":[{"type":"hologram","x":"\u00e9<&>"}],` +
	`"isError":false,"alpha":null}`

func relayed(name string, scopes []string, handler mcptools.RelayHandler) mcptools.Tool {
	return mcptools.Relay(&mcp.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object"}`)}, scopes, handler)
}

// relayEcho returns a tool whose result is verbatim, and the params of its last call.
func relayEcho(scopes ...string) (mcptools.Tool, *atomic.Value) {
	last := &atomic.Value{}
	return relayed("far", scopes,
		func(_ context.Context, _ *mcp.CallToolRequest, params json.RawMessage) (*mcptools.Verbatim, error) {
			last.Store(string(params))
			return &mcptools.Verbatim{JSON: json.RawMessage(verbatim)}, nil
		}), last
}

// callsOf returns a call on each of the ways that it can take to the middleware.
func callsOf(t *testing.T, url string, name, arguments string) map[string]testPost {
	params := `"name":"` + name + `","arguments":` + arguments
	return map[string]testPost{
		"without a session": modernCall(name, arguments),
		"in a session":      legacy("tools/call", params).with(sessionHeader, openSession(t, url)),
		"by the SDK":        modernCall(name, arguments).replaced(`"id":7`, `"id":7.0`),
	}
}

// responseBody sends a request and returns the response, without the frame of an event.
func responseBody(t *testing.T, url string, p testPost) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(p.to(url))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, event, isEvent := strings.Cut(string(body), "data: "); isEvent {
		return resp, strings.TrimSpace(event)
	}
	return resp, strings.TrimSpace(string(body))
}

func TestRelay_ResultIsVerbatimOnEveryWay(t *testing.T) {
	far, last := relayEcho()
	url := serve(t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{far}}), time.Now().Add(time.Hour))
	const arguments = `{"n":9007199254740993,"f":1.10}`
	for name, post := range callsOf(t, url, "far", arguments) {
		resp, body := responseBody(t, url, post)
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"result":`+verbatim) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		if params := last.Swap("").(string); !strings.Contains(params, `"arguments":`+arguments) {
			t.Errorf("%s: the handler got %s", name, params)
		}
	}
}

// The choice of the handler for one request must not affect later ones.
func TestRelay_AlternatesWithOtherTools(t *testing.T) {
	far, _ := relayEcho()
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{far, whoami()}})
	url := serve(t, h, time.Now().Add(time.Hour))
	for way := range callsOf(t, url, "far", "{}") {
		for i, c := range []struct{ tool, want string }{
			{"far", `"result":` + verbatim},
			{"whoami", `"subject":"alice"`},
			{"far", `"result":` + verbatim},
			{"nowhere", `unknown tool`},
			{"whoami", `"subject":"alice"`},
		} {
			if _, body := responseBody(t, url, callsOf(t, url, c.tool, "{}")[way]); !strings.Contains(body, c.want) {
				t.Errorf("%s, call %d, of %s: %s", way, i, c.tool, body)
			}
		}
	}
}

// The checks and limits of other tools apply to relayed ones.
func TestRelay_HasTheChecksOfOtherTools(t *testing.T) {
	far, last := relayEcho("far:use")
	trap := relayed("trap", nil,
		func(context.Context, *mcp.CallToolRequest, json.RawMessage) (*mcptools.Verbatim, error) {
			panic("the secret is 42")
		})
	endless := relayed("endless", nil,
		func(ctx context.Context, _ *mcp.CallToolRequest, _ json.RawMessage) (*mcptools.Verbatim, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	long := relayed("long", nil,
		func(context.Context, *mcp.CallToolRequest, json.RawMessage) (*mcptools.Verbatim, error) {
			return nil, &jsonrpc.Error{Code: -32099, Message: strings.Repeat("x", 1<<20)}
		})
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{far, trap, endless, long}},
		func(c *Config) { c.Settings.CallTimeout = 50 * time.Millisecond })
	url := serve(t, h, time.Now().Add(time.Hour))
	for tool, want := range map[string]string{
		"far": "insufficient scope: far:use", "trap": "internal error", "endless": "context deadline exceeded",
		"long": "x (truncated)",
	} {
		for way, post := range callsOf(t, url, tool, "{}") {
			_, body := responseBody(t, url, post)
			if !strings.Contains(body, want) || strings.Contains(body, "42") || len(body) > 2<<10 {
				t.Errorf("%s, %s: %s", tool, way, mcptools.Truncate(body, 300))
			}
		}
	}
	if last.Load() != nil {
		t.Error("a call without its scope reached the handler")
	}
	scopes, _, done := h.Route(modernCall("far", "{}").request())
	defer done()
	if len(scopes) != 1 || scopes[0] != "far:use" {
		t.Errorf("its scopes are %v", scopes)
	}
}

// The reason of a failed call is recorded, and that of one call is not that of the next.
func TestRelay_ReasonIsRecorded(t *testing.T) {
	const reason = providers.Reason("test_reason")
	failing := relayed("failing", nil,
		func(context.Context, *mcp.CallToolRequest, json.RawMessage) (*mcptools.Verbatim, error) {
			return &mcptools.Verbatim{JSON: json.RawMessage(`{"content":[],"isError":true}`), Reason: reason}, nil
		})
	far, _ := relayEcho()
	recorder := recordedResults{results: make(chan Result, 10)}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{failing, far}}, func(c *Config) { c.Recorder = recorder })
	url := serve(t, h, time.Now().Add(time.Hour))
	for _, tool := range []string{"failing", "far", "failing"} {
		want := Result{Outcome: OutcomeToolError, Reason: reason}
		if tool == "far" {
			want = Result{}
		}
		for way, post := range callsOf(t, url, tool, "{}") {
			for len(recorder.results) > 0 { // of the initialize
				<-recorder.results
			}
			_, body := responseBody(t, url, post)
			if got := <-recorder.results; got != want {
				t.Errorf("%s, %s: recorded %+v: %s", tool, way, got, body)
			}
		}
	}
}

// recordedResults is a Recorder that collects the results.
type recordedResults struct {
	discard
	results chan Result
}

func (r recordedResults) RecordResult(_ context.Context, result Result) { r.results <- result }

// The results of a caller count towards the limit of bytes until its client has read them: many calls with large
// results must not fill the memory.
func TestRelay_LimitsBytesOfResults(t *testing.T) {
	large := relayed("large", nil,
		func(context.Context, *mcp.CallToolRequest, json.RawMessage) (*mcptools.Verbatim, error) {
			return &mcptools.Verbatim{JSON: json.RawMessage(`{"content":[],"x":"` + strings.Repeat("x", 300<<10) + `"}`)}, nil
		})
	recorder := recordedResults{results: make(chan Result, 10)}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{large}}, func(c *Config) {
		c.Recorder = recorder
		c.Settings.MaxBytes, c.Settings.MaxBytesPerUser = 2<<20, 1<<20
	})
	url := serve(t, h, time.Now().Add(time.Hour))
	calls := callsOf(t, url, "large", "{}")
	for way, post := range calls {
		if _, body := responseBody(t, url, post); len(body) < 300<<10 {
			t.Errorf("%s: %s", way, body)
		}
	}
	eventuallyReleased(t, h)
	other := h.bytes.reserve(alice().Principal()) // of a response that a client reads slowly
	if err := other.grow(600 << 10); err != nil {
		t.Fatal(err)
	}
	for len(recorder.results) > 0 {
		<-recorder.results
	}
	for way, post := range calls {
		_, body := responseBody(t, url, post)
		if got := <-recorder.results; !strings.Contains(body, textTooManyBytes) || got.Reason != ReasonTooManyBytes {
			t.Errorf("%s: %.100s, recorded %+v", way, body, got)
		}
	}
	other.release()
	eventuallyReleased(t, h)
}

// eventuallyReleased waits until no bytes are reserved.
func eventuallyReleased(t *testing.T, h *Handler) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		h.bytes.mu.Lock()
		total := h.bytes.total
		h.bytes.mu.Unlock()
		if total == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still reserved", total)
		}
	}
}

// Progress of a relayed call reaches its caller.
func TestRelay_ProgressReachesTheCaller(t *testing.T) {
	slow := relayed("slow", nil,
		func(ctx context.Context, req *mcp.CallToolRequest, _ json.RawMessage) (*mcptools.Verbatim, error) {
			params := &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: 1}
			if err := mcptools.NotifyProgress(ctx, req, params); err != nil {
				return nil, errors.New("not delivered")
			}
			return &mcptools.Verbatim{JSON: json.RawMessage(`{"content":[]}`)}, nil
		})
	url := serve(t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{slow}}), time.Now().Add(time.Hour))
	for way, post := range callsOf(t, url, "slow", "{}") {
		post = post.replaced(`"_meta":{`, `"_meta":{"progressToken":"p9",`)
		if !strings.Contains(post.body, "p9") {
			post = post.replaced(`"params":{`, `"params":{"_meta":{"progressToken":"p9"},`)
		}
		_, body := responseBody(t, url, post)
		if !strings.Contains(body, `"progressToken":"p9"`) || !strings.Contains(body, `"result":{"content":[]}`) {
			t.Errorf("%s: %s", way, body)
		}
	}
}

// A list shows a relayed tool with its schemas as they are.
func TestRelay_IsListed(t *testing.T) {
	const schema = `{"type":"object","properties":{"b":{"minimum":1.0},"a":{"x-unknown":"<&>"}}}`
	tool := mcptools.Relay(&mcp.Tool{
		Name: "far", Description: "d", InputSchema: json.RawMessage(schema),
		OutputSchema: json.RawMessage(`{"type":"object"}`),
	}, []string{"far:use"}, func(context.Context, *mcp.CallToolRequest, json.RawMessage) (*mcptools.Verbatim, error) {
		return nil, errors.New("not called")
	})
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{tool}})
	list := modern("tools/list", "")
	_, with := responseBody(t, serve(t, h, time.Now().Add(time.Hour), "far:use"), list)
	if !strings.Contains(with, `"inputSchema":`+schema) {
		t.Errorf("the list is %s", with)
	}
	h = handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{tool}})
	if _, without := responseBody(t, serve(t, h, time.Now().Add(time.Hour)), list); strings.Contains(without, "far") {
		t.Errorf("without its scope the list is %s", without)
	}
}
