package mcphttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// contextTool returns the identity in the context of a call, and that of the call itself.
func contextTool() mcptools.Tool {
	return newTool(
		"glance",
		func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			inContext := "none"
			if id := providers.IdentityFrom(ctx); id != nil {
				inContext = id.Subject
			}
			return text(
				fmt.Sprintf("context: %s, call: %s, over: %v", inContext, mcptools.Caller(req).Subject, ctx.Err()),
			), nil
		},
	)
}

// The SDK derives the context of all calls in a session from that of Connect, so it must not be that of the first
// request.
func TestSession_DoesNotRetainTheRequestThatOpenedIt(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{contextTool()}})
	var opener weak.Pointer[providers.Identity]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := alice()
		if opener == (weak.Pointer[providers.Identity]{}) {
			opener = weak.Make(id)
		}
		authenticated(id, routed(h)).ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		h.CloseStreams()
		server.Close()
		h.CloseSessions()
	})
	s := connect(t, server.URL, "2025-11-25")
	if opener == (weak.Pointer[providers.Identity]{}) { // a weak pointer to a freed value is not zero
		t.Fatal("the session was not opened")
	}
	for range 2 { // the SDK retains the last request of a session
		result, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "glance"})
		if err != nil {
			t.Fatal(err)
		}
		if got := result.Content[0].(*mcp.TextContent).Text; got != "context: none, call: alice, over: <nil>" {
			t.Errorf("a tool sees %q", got)
		}
	}
	for range 100 {
		runtime.GC()
		if opener.Value() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // its connection may still be open
	}
	t.Error("the session keeps the identity and with it the token that opened it")
}

// askTool is a tool that sends requests to its client, in the call and outside of it.
func askTool() mcptools.Tool {
	return newTool("ask", func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		said := make([]string, 0, 2)
		if err := req.Session.NotifyProgress(
			ctx, &mcp.ProgressNotificationParams{ProgressToken: "p", Progress: 1},
		); err != nil {
			return nil, err
		}
		answer, err := req.Session.Elicit(
			ctx, &mcp.ElicitParams{Message: "may I?", RequestedSchema: &jsonschema.Schema{Type: "object"}},
		)
		if err != nil {
			return nil, err
		}
		said = append(said, answer.Action)
		if err := req.Session.Ping(ctx, nil); err != nil {
			return nil, err
		}
		outside, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		answer, err = req.Session.Elicit(
			outside, &mcp.ElicitParams{Message: "and now?", RequestedSchema: &jsonschema.Schema{Type: "object"}},
		)
		if err != nil {
			return nil, err
		}
		return text(strings.Join(append(said, answer.Action), " ")), nil
	})
}

// A session transports requests to the client and its responses: on the reply to the call during a call, and on the
// standalone stream otherwise.
func TestSession_SendsRequestsToTheClient(t *testing.T) {
	var progress atomic.Int64
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{askTool()}})
	url := serve(t, h, time.Now().Add(time.Hour))
	s := connectWith(t, url, "2025-11-25", &mcp.ClientOptions{
		ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{
				Action: map[string]string{"may I?": "accept", "and now?": "decline"}[req.Params.Message],
			}, nil
		},
		ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { progress.Add(1) },
	})
	awaitStreams(t, h, 1)
	for range 3 {
		r, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "ask"})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Content[0].(*mcp.TextContent).Text; got != "accept decline" {
			t.Errorf("the tool got %q", got)
		}
	}
	if got := progress.Load(); got != 3 {
		t.Errorf("%d notifications came, want 3", got)
	}
}

// Without a standalone stream, a request outside of a call has no receiver, and fails at once.
func TestSession_ARequestWithoutAReceiverFailsAtOnce(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{askTool()}})
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept"}, nil
		},
	})
	transport := &mcp.StreamableClientTransport{
		Endpoint:             serve(t, h, time.Now().Add(time.Hour)),
		HTTPClient:           bearerClient(),
		DisableStandaloneSSE: true,
	}
	s, err := client.Connect(
		context.Background(), transport, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"},
	)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	begin := time.Now()
	for range 2 { // and the session continues
		r, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "ask"})
		if err != nil || !r.IsError ||
			!strings.Contains(r.Content[0].(*mcp.TextContent).Text, "no receiver") {
			t.Errorf("answered %+v, %v", r, err)
		}
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestStandaloneStream_HasListChangedNotifications(t *testing.T) {
	told := make(chan struct{}, 1)
	h := handlerOf(changingCatalog())
	connectWith(t, serve(t, h, time.Now().Add(time.Hour)), "2025-11-25", &mcp.ClientOptions{
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { told <- struct{}{} },
	})
	awaitStreams(t, h, 1)
	mcptools.Catalog{Tools: []mcptools.Tool{greet()}}.Register(h.server)
	select {
	case <-told:
	case <-time.After(5 * time.Second):
		t.Error("the notification did not arrive")
	}
}

// MCP 2025-11-25, Cancellation: a client cancels with a notification, and not by hanging up.
func TestSession_ACallEndsByNotificationAndNotByHangingUp(t *testing.T) {
	begun, ended := make(chan struct{}, 2), make(chan error, 2)
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}})
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	call := `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"wait"}}`
	ctx, hangUp := context.WithCancel(context.Background())
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		if resp, err := bearerClient().Do(testPost{fmt.Sprintf(call, 1), in}.to(url).WithContext(ctx)); err == nil {
			resp.Body.Close()
		}
	}()
	<-begun
	hangUp()
	<-hungUp
	select {
	case err := <-ended:
		t.Fatalf("hanging up ended the call: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	t.Run("its id is still taken", func(t *testing.T) {
		if resp := request(t, http.MethodPost, url, fmt.Sprintf(call, 1), in); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("answered %d, want 400", resp.StatusCode)
		}
	})
	if resp := request(t, http.MethodPost, url, `{"jsonrpc":"2.0","method":"notifications/cancelled",`+
		`"params":{"requestId":1}}`, in); resp.StatusCode != http.StatusAccepted {
		t.Errorf("the notification was answered %d", resp.StatusCode)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the notification did not end the call")
	}
	t.Run("then the id is free again", func(t *testing.T) {
		for range 100 {
			resp := request(t, http.MethodPost, url, strings.Replace(fmt.Sprintf(call, 1), "wait", "nosuch", 1), in)
			if resp.StatusCode == http.StatusOK {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error("it never was")
	})
}

func TestSession_ItsEndCancelsWhatIsInFlight(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}})
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	stream := request(t, http.MethodGet, url, "", in)
	statuses := make(chan int, 1)
	go func() {
		resp, err := bearerClient().Do(testPost{`{"jsonrpc":"2.0","id":1,"method":"tools/call",` +
			`"params":{"name":"wait"}}`, in}.to(url))
		if err != nil {
			statuses <- 0
			return
		}
		resp.Body.Close()
		statuses <- resp.StatusCode
	}()
	<-begun
	if resp := request(t, http.MethodDelete, url, "", in); resp.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE answered %d", resp.StatusCode)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the call continues")
	}
	if status := <-statuses; status != http.StatusNotFound { // so that the client opens a new session (TR-35)
		t.Errorf("the call was answered %d, want 404", status)
	}
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the stream broke: %v", err)
	}
	if n := h.Sessions(); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
}

// Requests that MCP does not allow are rejected, and the session continues.
func TestSession_RejectsInvalidRequests(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
	url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
	id := openSession(t, url)
	in := map[string]string{sessionHeader: id}
	with := func(pairs ...string) map[string]string { return testPost{header: in}.with(pairs...).header }
	hello := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"}}}`
	for name, c := range map[string]struct {
		method, body string
		header       map[string]string
		status       int
		want         string
	}{
		"a stream that is no stream":   {"GET", "", with("Accept", "application/json"), 400, "Accept"},
		"a stream to resume":           {"GET", "", with("Last-Event-ID", "1_1"), 400, "resumed"},
		"a POST that resumes":          {"POST", hello, with("Last-Event-ID", "1_1"), 400, "Last-Event-ID"},
		"an Accept that is too narrow": {"POST", hello, with("Accept", "application/json"), 400, "Accept"},
		"any Accept":                   {"POST", hello, with("Accept", "*/*"), 200, "Hello, Ada!"},
		"an Accept with parameters": {
			"POST", hello, with("Accept", "Application/JSON; q=0.9, text/*"), 200, "Hello, Ada!",
		},
		"another content type": {"POST", hello, with("Content-Type", "text/plain"), 415, ""},
		"a call without an id": {"POST", strings.Replace(hello, `"id":1,`, "", 1), in, 400, "id is missing"},
		"a call with a null id": {
			"POST", strings.Replace(hello, `"id":1`, `"id":null`, 1), in, 400, "neither a string nor an integer",
		},
		"a call with an id that is a list": {
			"POST", strings.Replace(hello, `"id":1`, `"id":[1]`, 1), in, 400, "-32600",
		},
		"a call with a negative id": {"POST", strings.Replace(hello, `"id":1`, `"id":-1`, 1), in, 200, `"id":-1`},
		"a notification with an id": {
			"POST", `{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}`, in, 400, "must not have an id",
		},
		"an unknown notification": {"POST", `{"jsonrpc":"2.0","method":"notifications/nosuch"}`, in, 202, ""},
		"JSON-RPC 1.0":            {"POST", strings.Replace(hello, `"2.0"`, `"1.0"`, 1), in, 400, "-32600"},
		"an answer to nothing":    {"POST", `{"jsonrpc":"2.0","id":77,"result":{}}`, in, 202, ""},
		"an error to nothing": {
			"POST", `{"jsonrpc":"2.0","id":78,"error":{"code":1,"message":"x"}}`,
			in, 202, "",
		},
		"an answer without an id":        {"POST", `{"jsonrpc":"2.0","result":{}}`, in, 400, "-32600"},
		"an answer that is not one":      {"POST", `{"jsonrpc":"2.0","id":77,"error":"x"}`, in, 400, "-32600"},
		"neither a method nor an answer": {"POST", `{}`, in, 400, "-32600"},
		"a second handshake": {
			"POST", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
				`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
			in, 200, "duplicate",
		},
		"2026-07-28 in _meta": {
			"POST", strings.Replace(hello, `"params":{`, `"params":{`+plainMeta+`,`, 1), in, 400, "-32022",
		},
		"a subscription of 2026-07-28": {
			"POST", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen",` +
				`"params":{"notifications":{"toolsListChanged":true}}}`,
			in, 400, "-32601",
		},
		"no method at all": {"POST", `{"jsonrpc":"2.0","id":1,"method":""}`, in, 200, "-32601"},
		"a long id": {
			"POST", strings.Replace(hello, `"id":1`, `"id":"`+strings.Repeat("i", 2000)+`"`, 1),
			in, 400, "too long",
		},
		"a large _meta": {
			"POST", strings.Replace(hello, `"params":{`, `"params":{"_meta":{"x":["`+strings.Repeat("x", 17<<10)+`"]},`, 1),
			in, 413, "_meta",
		},
		"a large notification": {
			"POST", `{"jsonrpc":"2.0","method":"notifications/initialized",` +
				`"params":{"x":"` + strings.Repeat("x", 17<<10) + `"}}`,
			in, 413, "params are too large",
		},
		"a large level": {
			"POST", `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel",` +
				`"params":{"level":"` + strings.Repeat("x", 17<<10) + `"}}`,
			in, 413, "params are too large",
		},
		"nesting without end":    {"POST", strings.Replace(hello, `"Ada"`, nested(2000), 1), in, 400, "deep"},
		"another method of HTTP": {"PUT", hello, in, 405, ""},
		"the end of no session":  {"DELETE", "", with(sessionHeader, ""), 400, "session"},
		"a call in a session of another's name": {
			"POST", hello, with(sessionHeader, strings.ToLower(id)), 404, "no such session",
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp := request(t, c.method, url, c.body, c.header)
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.Contains(string(body), c.want) {
				t.Errorf("answered %d %s, want %d with %s", resp.StatusCode, body, c.status, c.want)
			}
			if c.status == http.StatusMethodNotAllowed && resp.Header.Get("Allow") != "GET, POST, DELETE" {
				t.Errorf("Allow is %q", resp.Header.Get("Allow"))
			}
			if again := request(t, http.MethodPost, url, hello, in); again.StatusCode != http.StatusOK {
				t.Errorf("afterwards a good call is answered %d", again.StatusCode)
			}
		})
	}
}

// serveAsAlice serves a request of alice.
func serveAsAlice(h *Handler, w http.ResponseWriter, r *http.Request) {
	authenticated(alice("greet:read"), routed(h)).ServeHTTP(w, r)
}

// MCP 2025-11-25, Transports: messages on the standalone stream are unrelated to any request.
func TestSession_MessagesOfACallAreDroppedAfterItsClientHungUp(t *testing.T) {
	begun, over, said := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	muttering := newTool(
		"mutter",
		func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			close(begun)
			<-over
			said <- req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p"})
			return nil, nil
		},
	)
	url := serve(t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{muttering}}), time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	request(t, http.MethodGet, url, "", in) // a stream is open
	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		if resp, err := bearerClient().Do(testPost{`{"jsonrpc":"2.0","id":1,"method":"tools/call",` +
			`"params":{"name":"mutter"}}`, in}.to(url).WithContext(ctx)); err == nil {
			resp.Body.Close()
		}
	}()
	<-begun
	hangUp()
	time.Sleep(100 * time.Millisecond) // until the server has noticed
	close(over)
	if err := <-said; err == nil {
		t.Error("the message was delivered")
	}
}

// openSession opens a session and returns its ID.
func openSession(t *testing.T, url string) string {
	t.Helper()
	resp := request(
		t,
		http.MethodPost,
		url,
		`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",`+
			`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
		nil,
	)
	id := resp.Header.Get(sessionHeader)
	if resp.StatusCode != http.StatusOK || id == "" {
		t.Fatalf("initialize answered %d, session %q", resp.StatusCode, id)
	}
	return id
}

func TestResponses_AreNotCacheable(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{reportTool(), greet()}})
	url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
	in := map[string]string{sessionHeader: openSession(t, url)}
	get := request(t, http.MethodGet, url, "", in)
	for name, c := range map[string]struct {
		resp   *http.Response
		stream bool
	}{
		"a stream": {get, true},
		"a stream of a call": {
			request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"report"}}`, in),
			true,
		},
		"a stream of 2026-07-28": {
			request(t, http.MethodPost, url, modernCall("report", "{}").body, modernCall("report", "{}").header),
			true,
		},
		"an answer": {request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":2,"method":"ping"}`, in), false},
		"an answer of 2026-07-28": {
			request(t, http.MethodPost, url, modern("tools/list", "").body, modern("tools/list", "").header),
			false,
		},
	} {
		if got := c.resp.Header.Get("Cache-Control"); got != "no-cache, no-transform" {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
		if got := c.resp.Header.Get("X-Accel-Buffering"); c.stream != (got == "no") {
			t.Errorf("%s: X-Accel-Buffering %q", name, got)
		}
	}
	if line, _ := bufio.NewReader(get.Body).ReadString('\n'); line != ": ok\n" {
		t.Errorf("the stream begins with %q", line)
	}
	get.Body.Close()
	for range 100 {
		if again := request(t, http.MethodGet, url, "", in); again.StatusCode == http.StatusOK {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the place of a stream that ended is never free")
}

func TestSession_AStartedStreamEndsWithoutAnError(t *testing.T) {
	begun := make(chan struct{})
	h := handlerOf(
		mcptools.Catalog{
			Tools: []mcptools.Tool{
				newTool(
					"wait",
					func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
						_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p"})
						close(begun)
						<-ctx.Done()
						return nil, ctx.Err()
					},
				),
			},
		},
	)
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	resp := request(
		t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}`, in,
	)
	<-begun
	request(t, http.MethodDelete, url, "", in)
	if body, _ := io.ReadAll(resp.Body); strings.Contains(string(body), "no such session") ||
		!strings.Contains(string(body), "progress") {
		t.Errorf("the stream says %q", body)
	}
}

func TestHandler_WithoutAnIdentityServesNothing(t *testing.T) {
	for _, era := range []string{EraDual, EraStateless} {
		h := handlerOf(fullCatalog(), func(cfg *Config) { cfg.Settings.Era = era })
		for name, r := range map[string]*http.Request{
			"a call": modernCall("greet", `{}`).request(), "a list": modern("tools/list", "").request(),
			"an older call": legacy("tools/call", `"name":"greet"`).request(),
			"an older list": legacy("tools/list", "").request(),
			"a handshake":   legacy("initialize", `"protocolVersion":"2025-11-25"`).request(),
		} {
			w := httptest.NewRecorder()
			_, handler, done := h.Route(r)
			defer done()
			handler.ServeHTTP(w, r)
			if w.Code != http.StatusUnauthorized && (name != "a handshake" || era != EraStateless) {
				t.Errorf("%s, %s: answered %d", era, name, w.Code)
			}
		}
	}
}

func TestSession_ToolsSeeItsID(t *testing.T) {
	tool := newTool("id", func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("id=" + req.Session.ID()), nil
	})
	url := serve(t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{tool}}), time.Now().Add(time.Hour))
	id := openSession(t, url)
	resp := request(
		t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"id"}}`,
		map[string]string{sessionHeader: id},
	)
	if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), "id="+id) {
		t.Errorf("the tool learns %s, want %s", body, id)
	}
}

func TestSession_ANotificationHasItsSenderAndIsAUse(t *testing.T) {
	t.Parallel()
	told := make(chan string, 10)
	h := handlerOf(mcptools.Catalog{Options: func(o *mcp.ServerOptions) {
		//lint:ignore SA1019 no other handler gets the sender of a notification
		o.RootsListChangedHandler = func(_ context.Context, req *mcp.RootsListChangedRequest) {
			told <- mcptools.Caller(req).Subject
		}
	}}, func(cfg *Config) { cfg.Settings.SessionTimeout = 1500 * time.Millisecond })
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	request(t, http.MethodPost, url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, in)
	for range 4 { // longer than the timeout in all
		time.Sleep(400 * time.Millisecond)
		if resp := request(
			t, http.MethodPost, url, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`, in,
		); resp.StatusCode != http.StatusAccepted {
			t.Fatalf("answered %d", resp.StatusCode)
		}
		select {
		case who := <-told:
			if who != "alice" {
				t.Errorf("it is %s's", who)
			}
		case <-time.After(time.Second):
			t.Fatal("the notification did not arrive")
		}
	}
}

// awaitStreams waits until n sessions have a stream: a client opens it after initialize.
func awaitStreams(t *testing.T, h *Handler, n int) {
	t.Helper()
	for range 500 {
		standing := 0
		h.sessions.mu.Lock()
		for _, s := range h.sessions.open {
			s.mu.Lock()
			if s.stream != nil {
				standing++
			}
			s.mu.Unlock()
		}
		h.sessions.mu.Unlock()
		if standing >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the streams never opened")
}
