package mcphttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/mcptools"
)

// recordedSessions records the beginnings and ends of sessions.
type recordedSessions struct {
	discard
	mu    sync.Mutex
	infos []SessionInfo
	ends  []SessionEnd
}

func (r *recordedSessions) BeginSession(_ context.Context, info SessionInfo) func(SessionEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.infos = append(r.infos, info)
	return func(how SessionEnd) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ends = append(r.ends, how)
	}
}

// wait waits for n ends, and a moment for one too many.
func (r *recordedSessions) wait(n int) []SessionEnd {
	for begin := time.Now(); time.Since(begin) < 5*time.Second; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		ends := slices.Clone(r.ends)
		r.mu.Unlock()
		if len(ends) >= n {
			time.Sleep(20 * time.Millisecond)
			return ends
		}
	}
	return nil
}

// Each session that was opened ends once, whatever ends it.
func TestRecorder_EachSessionEndsOnce(t *testing.T) {
	const inSession = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"greet","arguments":{"name":"A"}}}`
	for name, c := range map[string]struct {
		change func(*Config)
		end    func(t *testing.T, h *Handler, url string)
		want   string // of the ends, in any order
	}{
		"DELETE, twice": {
			end: func(t *testing.T, _ *Handler, url string) {
				session := map[string]string{sessionHeader: openSession(t, url)}
				request(t, http.MethodDelete, url, "", session)
				request(t, http.MethodDelete, url, "", session)
			},
			want: "[deleted]",
		},
		"the idle timeout": {
			change: func(c *Config) { c.Settings.SessionTimeout = 50 * time.Millisecond },
			end: func(t *testing.T, _ *Handler, url string) {
				session := openSession(t, url)
				request(t, http.MethodPost, url, inSession, map[string]string{sessionHeader: session})
			},
			want: "[timeout]",
		},
		"another session at the limit": {
			change: func(c *Config) { c.Settings.MaxSessionsPerUser = 1 },
			end: func(t *testing.T, h *Handler, url string) {
				openSession(t, url)
				openSession(t, url)
				h.CloseSessions()
			},
			want: "[replaced stopped]",
		},
		"the stop of the server": {
			end:  func(t *testing.T, h *Handler, url string) { openSession(t, url); h.CloseSessions() },
			want: "[stopped]",
		},
		"the SDK": {
			end: func(t *testing.T, h *Handler, url string) {
				openSession(t, url)
				for s := range h.server.Sessions() {
					_ = s.Close()
				}
			},
			want: "[error]",
		},
		"a client that hangs up before it has the ID": {
			end: func(_ *testing.T, h *Handler, _ string) {
				ctx, hangUp := context.WithCancel(context.Background())
				r := testPost{`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
					`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, nil}.request()
				serveAsAlice(h, leavingWriter{httptest.NewRecorder(), hangUp}, r.WithContext(ctx))
			},
			want: "[abandoned]",
		},
		"a handshake that fails opens none": {
			end: func(t *testing.T, h *Handler, url string) {
				request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"initialize"}`, nil)
				openSession(t, url)
				h.CloseSessions()
			},
			want: "[stopped]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recorder := &recordedSessions{}
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}}, func(cfg *Config) {
				cfg.Recorder = recorder
				if c.change != nil {
					c.change(cfg)
				}
			})
			url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
			c.end(t, h, url)
			ends := recorder.wait(strings.Count(c.want, " ") + 1)
			slices.Sort(ends)
			if got := fmt.Sprint(ends); got != c.want {
				t.Errorf("ends: %s, want %s", got, c.want)
			}
			for _, info := range recorder.infos {
				if info.ProtocolVersion != "2025-11-25" || len(info.ID) < 20 {
					t.Errorf("%+v", info)
				}
			}
		})
	}
}

// A session that ends while a DELETE looks it up is unknown to that request: the end has its record already.
func TestDeleteSession_ThatJustEndedIs404(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
	defer h.CloseSessions()
	opening := httptest.NewRecorder()
	serveAsAlice(h, opening, testPost{`{"jsonrpc":"2.0","id":0,"method":"initialize","params":` +
		`{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, nil}.request())
	s := h.sessions.open[h.onlySession()]
	for _, c := range []struct {
		ended bool
		want  int
	}{{true, http.StatusNotFound}, {false, http.StatusNoContent}} {
		s.mu.Lock()
		s.ended = c.ended
		s.mu.Unlock()
		r := httptest.NewRequest(http.MethodDelete, "/mcp", nil)
		r.Header.Set(sessionHeader, s.id)
		w := httptest.NewRecorder()
		serveAsAlice(h, w, r)
		if w.Code != c.want {
			t.Errorf("ended %t: %d, want %d", c.ended, w.Code, c.want)
		}
	}
}

// A session that was not added to the table has no end.
func TestRecorder_ASessionThatWasNotOpenedHasNoEnd(t *testing.T) {
	recorder := &recordedSessions{}
	table := newSessionTable(DefaultSettings())
	s := newSession("alice", table, time.Minute)
	s.recordBegin(context.Background(), recorder, SessionInfo{ID: s.id})
	if !s.end(SessionTimedOut) || s.end(SessionDeleted) {
		t.Error("a session ends once")
	}
	if len(recorder.ends) > 0 {
		t.Errorf("ends: %v", recorder.ends)
	}
}

// The version of a session is what the server answered, which may not be what the client asked for.
func TestRecorder_SessionHasTheNegotiatedVersion(t *testing.T) {
	for asked, want := range map[string]string{
		"2025-06-18": "2025-06-18", "2024-11-05": "2024-11-05", "1999-01-01": "2025-11-25", "canary": "2025-11-25",
	} {
		recorder := &recordedSessions{}
		h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}}, func(c *Config) { c.Recorder = recorder })
		url := serve(t, h, time.Now().Add(time.Hour))
		request(t, http.MethodPost, url, strings.Replace(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":`+
			`{"protocolVersion":"ASKED","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, "ASKED", asked, 1), nil)
		if len(recorder.infos) != 1 || recorder.infos[0].ProtocolVersion != want {
			t.Errorf("%s: %+v, want %s", asked, recorder.infos, want)
		}
	}
}

// lastResult is a Recorder that keeps the last result and operation.
type lastResult struct {
	lastOperation
	results chan Result
}

func (l *lastResult) RecordResult(_ context.Context, r Result) { l.results <- r }

// The code of a JSON-RPC error reaches the recorder: those that this package sends before the SDK sees the request, and
// those of the SDK, on each of the ways that a request can take.
func TestRecorder_ReceivesTheCodeOfErrors(t *testing.T) {
	coded := newTool("coded", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, &jsonrpc.Error{Code: -31999, Message: "canary"}
	})
	slow := newTool("slow", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	failing := newTool("fail", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, errors.New("no luck")
	})
	results := &lastResult{results: make(chan Result, 10)}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{coded, slow, failing}}, func(c *Config) {
		c.Recorder, c.Settings.CallTimeout = results, 50*time.Millisecond
	})
	url := serve(t, h, time.Now().Add(time.Hour))
	session := openSession(t, url)
	inSession := func(name string) testPost {
		return legacy("tools/call", `"name":"`+name+`"`).with(sessionHeader, session)
	}
	bySDK := func(name string) testPost { return modernCall(name, "{}").replaced(`"id":7`, `"id":7.0`) }
	for name, c := range map[string]struct {
		post testPost
		want Result // Code, TimedOut and Outcome
	}{
		"no JSON":                    {testPost{"{", nil}, Result{Code: -32700}},
		"an unknown tool":            {modernCall("unknown", "{}"), Result{Code: -32602, Outcome: OutcomeInvalid}},
		"an unknown tool, session":   {inSession("unknown"), Result{Code: -32602, Outcome: OutcomeInvalid}},
		"an unknown tool, SDK":       {bySDK("unknown"), Result{Code: -32602, Outcome: OutcomeInvalid}},
		"an unknown method":          {modern("canary", ""), Result{Code: -32601, Outcome: OutcomeInvalid}},
		"an unknown session":         {inSession("fail").with(sessionHeader, "canary"), Result{Code: -32600}},
		"an unknown version":         {legacy("ping", "").with(versionHeader, "2020-01-01"), Result{Code: -32022}},
		"a code of a tool":           {modernCall("coded", "{}"), Result{Code: -31999, Outcome: OutcomeError}},
		"a code of a tool, session":  {inSession("coded"), Result{Code: -31999, Outcome: OutcomeError}},
		"a code of a tool, SDK":      {bySDK("coded"), Result{Code: -31999, Outcome: OutcomeError}},
		"a tool that fails":          {modernCall("fail", "{}"), Result{Outcome: OutcomeToolError}},
		"a tool that fails, session": {inSession("fail"), Result{Outcome: OutcomeToolError}},
		"a tool that fails, SDK":     {bySDK("fail"), Result{Outcome: OutcomeToolError}},
		"a timeout":                  {modernCall("slow", "{}"), Result{Outcome: OutcomeToolError, TimedOut: true}},
		"a timeout, session":         {inSession("slow"), Result{Outcome: OutcomeToolError, TimedOut: true}},
		"a timeout, SDK":             {bySDK("slow"), Result{Outcome: OutcomeToolError, TimedOut: true}},
	} {
		for len(results.results) > 0 {
			<-results.results
		}
		resp, err := http.DefaultTransport.RoundTrip(c.post.to(url))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got := <-results.results
		if got.Code != c.want.Code || got.TimedOut != c.want.TimedOut || got.Outcome != c.want.Outcome {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if strings.Contains(got.Detail, "canary") {
			t.Errorf("%s: the detail quotes the error of a tool: %q", name, got.Detail)
		}
	}
}

// The id and the trace context of a message reach the recorder as the client sent them.
func TestOperation_HasIDAndTraceContext(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, c := range map[string]struct {
		meta, id, traceparent, tracestate string
	}{
		"none":               {"", "7", "", ""},
		"both":               {`"traceparent":"` + parent + `","tracestate":"a=1",`, "7", parent, "a=1"},
		"escaped":            {`"traceparent":"\u0030` + parent[1:] + `",`, "7", parent, ""},
		"another type":       {`"traceparent":7,"tracestate":["a=1"],`, "7", "", ""},
		"another spelling":   {`"trace_parent":"` + parent + `",`, "7", "", ""},
		"an id that is text": {"", `"canary"`, "", ""},
	} {
		post := modern("tools/list", "")
		post.body = strings.Replace(post.body, `"_meta":{`, `"_meta":{`+c.meta, 1)
		post.body = strings.Replace(post.body, `"id":7`, `"id":`+c.id, 1)
		recorded := &lastOperation{}
		h := handlerOf(fullCatalog(), func(cfg *Config) { cfg.Recorder = recorded })
		_, _, done := h.Route(post.request())
		traceparent, tracestate := recorded.operation.TraceContext()
		if id := recorded.operation.RequestID(); id != strings.Trim(c.id, `"`) {
			t.Errorf("%s: id %q", name, id)
		}
		done()
		if traceparent != c.traceparent || tracestate != c.tracestate {
			t.Errorf("%s: %q %q", name, traceparent, tracestate)
		}
	}
	twice := modern("tools/list", "")
	twice.body = strings.Replace(twice.body, `"_meta":{`, `"_meta":{"traceparent":"`+parent+`","traceparent":"",`, 1)
	if _, rpcErr := parseMessage([]byte(twice.body)); rpcErr == nil {
		t.Error("a member that occurs twice is accepted")
	}
}

// A handler's context has the span of its own request, on each of the ways that a call can take.
func TestContext_OfAToolHasTheSpanOfItsRequest(t *testing.T) {
	seen := make(chan trace.SpanContext, 1)
	spying := newTool("spy", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		seen <- trace.SpanContextFromContext(ctx)
		return text("done"), nil
	})
	for name, c := range map[string]struct {
		era  string
		post func(session string) testPost
	}{
		"2026-07-28": {EraDual, func(string) testPost { return modernCall("spy", "{}") }},
		"by the SDK": {EraDual, func(string) testPost {
			return modernCall("spy", "{}").replaced(`"id":7`, `"id":7.0`)
		}},
		"in a session": {EraDual, func(session string) testPost {
			return legacy("tools/call", `"name":"spy"`).with(sessionHeader, session)
		}},
		"2025-11-25 without a session": {EraStateless, func(string) testPost {
			return legacy("tools/call", `"name":"spy"`)
		}},
	} {
		h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{spying}}, func(cfg *Config) { cfg.Settings.Era = c.era })
		for n := byte(1); n <= 2; n++ { // the second request of a session has a span of its own
			var session string
			if n == 1 && name == "in a session" {
				opening := httptest.NewRecorder()
				serveAsAlice(h, opening, testPost{`{"jsonrpc":"2.0","id":0,"method":"initialize","params":` +
					`{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, nil}.request())
				session = opening.Header().Get(sessionHeader)
			} else if name == "in a session" {
				session = h.onlySession()
			}
			want := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{n}, SpanID: trace.SpanID{n}})
			r := c.post(session).request()
			w := httptest.NewRecorder()
			serveAsAlice(h, w, r.WithContext(trace.ContextWithSpanContext(r.Context(), want)))
			select {
			case got := <-seen:
				if !got.Equal(want) {
					t.Errorf("%s: %v, want %v", name, got, want)
				}
			default:
				t.Errorf("%s: the tool did not run: %d %s", name, w.Code, w.Body)
			}
		}
		h.CloseSessions()
	}
}

// onlySession returns the ID of the only session.
func (h *Handler) onlySession() (id string) {
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	for id = range h.sessions.open {
	}
	return id
}

// Every method that is served is in the list of known ones.
func TestMethods_HasAllThatAreServed(t *testing.T) {
	all := Methods()
	for _, method := range all {
		if strings.Contains(method, "canary") || method == "" {
			t.Errorf("%q", method)
		}
	}
	for _, method := range []string{
		methodCallTool, methodGetPrompt, methodRead, methodSubscribe, methodUnsubscribe, methodListen, methodComplete,
		methodListTools, methodListPrompts, methodListResources, methodListTemplates, methodInitialize, methodSetLevel,
		"ping", "server/discover",
	} {
		if !slices.Contains(all, method) {
			t.Errorf("%s is missing", method)
		}
	}
	if slices.Sort(all); len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Error("a method is in the list twice")
	}
}

func TestResourceName_IsFromTheCatalog(t *testing.T) {
	catalog := fullCatalog()
	catalog.ResourceTemplates = []mcptools.ResourceTemplate{{
		Template: &mcp.ResourceTemplate{URITemplate: "note://{id}", Name: "note"},
		Handler: func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return nil, errors.New("unused")
		},
	}}
	h := handlerOf(catalog)
	for uri, want := range map[string]string{
		"doc://a": "doc://a", "note://canary": "note://{id}", "doc://canary": "", "": "",
	} {
		if got := h.ResourceName(uri); got != want {
			t.Errorf("%q: %q, want %q", uri, got, want)
		}
	}
}

func TestUsage_CountsWhatIsInUse(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}}, func(c *Config) {
		c.Settings.MaxCalls, c.Settings.MaxSessions, c.Settings.MaxStreams = 7, 8, 9
		c.Settings.MaxBytes = 1 << 20
	})
	s := connect(t, serve(t, h, time.Now().Add(time.Hour)), "2025-11-25")
	ctx, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	go func() { _, _ = s.CallTool(ctx, &mcp.CallToolParams{Name: "wait"}) }()
	<-begun
	var got Usage
	for begin := time.Now(); time.Since(begin) < 5*time.Second && got.Streams.Active == 0; {
		got = h.Usage() // the client opens its stream by and by
		time.Sleep(time.Millisecond)
	}
	if got.Calls != (UsageOf{1, 7}) || got.Sessions != (UsageOf{1, 8}) || got.Streams != (UsageOf{1, 9}) ||
		got.Bytes.Limit != 1<<20 || got.Bytes.Active < 20 {
		t.Errorf("%+v", got)
	}
	hangUp()
	<-ended
}

// slowWriter is the response to a client that does not read: each write begins, and ends when goOn is closed.
type slowWriter struct {
	*httptest.ResponseRecorder
	begun chan<- struct{}
	goOn  <-chan struct{}
}

func (w slowWriter) Write(text []byte) (int, error) {
	select {
	case w.begun <- struct{}{}:
	default:
	}
	<-w.goOn
	return w.ResponseRecorder.Write(text)
}

// The response to a call in a session may come while a comment to a client that hung up is still being written. The
// call is no orphan then, and its result is that of the request.
func TestRecorder_ResultOfACallWhoseClientLeftDuringAComment(t *testing.T) {
	begun, fail, writing, goOn := make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 1), make(chan struct{})
	recorder := recordedResults{results: make(chan Result, 10)}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{silentTool(begun, fail, errors.New("no"))}},
		withKeepalive(often), func(c *Config) { c.Recorder = recorder })
	session := openSession(t, serve(t, h, time.Now().Add(time.Hour)))
	for len(recorder.results) > 0 { // of the initialize
		<-recorder.results
	}
	ctx, hangUp := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		call := legacy("tools/call", `"name":"silent"`).with(sessionHeader, session).request()
		serveAsAlice(h, slowWriter{httptest.NewRecorder(), writing, goOn}, call.WithContext(ctx))
	}()
	<-begun
	<-writing
	hangUp()
	time.Sleep(often) // the request sees it before the response
	close(fail)
	for _, s := range h.sessions.all() {
		for len(s.callersInUse()) > 1 { // of the latest request, and of calls without a response
			time.Sleep(time.Millisecond)
		}
	}
	close(goOn)
	<-served
	select {
	case got := <-recorder.results:
		if got.Outcome != OutcomeToolError {
			t.Errorf("recorded is %+v", got)
		}
	default:
		t.Error("nothing is recorded")
	}
}

// A client that hangs up cancels a call of MCP 2026-07-28, although the response has begun with a comment.
func TestRecorder_ClientThatHangsUpAfterAComment(t *testing.T) {
	tools := mcptools.Catalog{Tools: []mcptools.Tool{
		newTool("near", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}),
		relayed("far", nil,
			func(ctx context.Context, _ *mcp.CallToolRequest, _ json.RawMessage) (*mcptools.Verbatim, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}),
	}}
	recorder := recordedResults{results: make(chan Result, 10)}
	url := serve(t, handlerOf(tools, withKeepalive(often), func(c *Config) { c.Recorder = recorder }),
		time.Now().Add(time.Hour))
	for name, call := range map[string]testPost{
		"near": modernCall("near", "{}"), "far": modernCall("far", "{}"),
		"near, by the SDK's HTTP handler": modernCall("near", "{}").replaced(`"id":7`, `"id":7.0`),
		"far, by the SDK's HTTP handler":  modernCall("far", "{}").replaced(`"id":7`, `"id":7.0`),
	} {
		client := bearerClient()
		client.Timeout = 10 * time.Second
		resp, err := client.Do(call.to(url)) // returns after the first comment
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		recorder.checkCanceled(t, name)
	}
}

// In a session, the call continues, and its request is recorded as canceled.
func TestRecorder_ClientThatHangsUpInASessionAfterAComment(t *testing.T) {
	begun, goOn := make(chan struct{}, 1), make(chan struct{})
	defer close(goOn)
	recorder := recordedResults{results: make(chan Result, 10)}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{stubbornTool(begun, goOn)}}, withKeepalive(often),
		func(c *Config) { c.Recorder = recorder })
	url := serve(t, h, time.Now().Add(time.Hour))
	call := legacy("tools/call", `"name":"stubborn"`).with(sessionHeader, openSession(t, url))
	for len(recorder.results) > 0 { // of the initialize
		<-recorder.results
	}
	client := bearerClient()
	client.Timeout = 10 * time.Second
	resp, err := client.Do(call.to(url)) // returns after the first comment
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	recorder.checkCanceled(t, "in a session")
}

// checkCanceled expects that the next result is a hang-up.
func (r recordedResults) checkCanceled(t *testing.T, name string) {
	t.Helper()
	select {
	case got := <-r.results:
		if got != (Result{Outcome: OutcomeCanceled}) {
			t.Errorf("%s: recorded is %+v", name, got)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("%s: nothing is recorded", name)
	}
}

// A client that leaves after the response has not canceled the request. The messages are encoded by the SDK, whose
// order of members tells a response from a notification.
func TestResultWriter_KnowsAResponse(t *testing.T) {
	id, _ := jsonrpc.MakeID("7") // a string is a valid ID
	for name, c := range map[string]struct {
		message jsonrpc.Message
		want    bool
	}{
		"a response":     {&jsonrpc.Response{ID: id, Result: json.RawMessage(`{"content":[]}`)}, true},
		"an error":       {&jsonrpc.Response{ID: id, Error: &jsonrpc.Error{Code: 1, Message: "no"}}, true},
		"a notification": {&jsonrpc.Request{Method: "notifications/progress", Params: json.RawMessage(`{}`)}, false},
	} {
		text, err := jsonrpc.EncodeMessage(c.message)
		if err != nil {
			t.Fatal(err)
		}
		w := &resultWriter{ResponseWriter: httptest.NewRecorder(), method: methodCallTool,
			request: httptest.NewRequest(http.MethodPost, "/", nil)}
		if _, err := fmt.Fprintf(w, "event: message\ndata: %s\n\n", text); err != nil {
			t.Fatal(err)
		}
		if w.isAnswered() != c.want {
			t.Errorf("%s: %s: %v", name, text, w.isAnswered())
		}
	}
}
