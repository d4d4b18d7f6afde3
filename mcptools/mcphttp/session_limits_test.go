package mcphttp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// A session that was not opened takes no place, and its ID is not sent.
func TestInitialize_ThatFailsLeavesNoSession(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
	url := serve(t, h, time.Now().Add(time.Hour))
	for name, body := range map[string]string{
		"no params":         `{"jsonrpc":"2.0","id":1,"method":"initialize"}`,
		"params of no kind": `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":7}}`,
		"no id": `{"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-11-25",` +
			`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			resp := request(t, http.MethodPost, url, body, nil)
			if resp.Header.Get(sessionHeader) != "" {
				t.Errorf("answered %d with a session", resp.StatusCode)
			}
			for range 100 {
				if h.Sessions() == 0 {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
			t.Error("a session stays")
		})
	}
}

// A call keeps its session open, however long it takes; the idle timeout starts when it ends.
func TestSession_IsNotIdleDuringACall(t *testing.T) {
	t.Parallel()
	slow := newTool("slow", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-ctx.Done():
		case <-time.After(1500 * time.Millisecond):
		}
		return text("done"), ctx.Err()
	})
	h := handlerOf(
		mcptools.Catalog{Tools: []mcptools.Tool{slow}},
		func(cfg *Config) { cfg.Settings.SessionTimeout = time.Second },
	)
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	resp := request(
		t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow"}}`, in,
	)
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK ||
		!strings.Contains(string(body), "done") {
		t.Errorf("answered %d %s", resp.StatusCode, body)
	}
	if n := h.Sessions(); n != 1 {
		t.Errorf("%d sessions are open, want 1", n)
	}
	for range 100 {
		if h.Sessions() == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the session never ended")
}

// Many clients call, hang up, listen, and end their sessions at the same time.
func TestSession_SurvivesClientsThatHangUpAndEndSessions(t *testing.T) {
	h := handlerOf(
		mcptools.Catalog{Tools: []mcptools.Tool{greet(), reportTool()}},
		func(cfg *Config) { cfg.Settings.MaxSessionsPerUser = 100 },
	)
	url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: withToken{transport}}
	var clients sync.WaitGroup
	for range 4 {
		id := openSession(t, url)
		for n := range 4 {
			clients.Go(func() {
				for i := range 40 {
					tool := []string{"greet", "report"}[i%2]
					ctx, cancel := context.WithCancel(context.Background())
					if i%7 == n {
						ctx, cancel = context.WithTimeout(context.Background(), time.Duration(i)*20*time.Microsecond)
					}
					p := testPost{
						fmt.Sprintf(
							`{"jsonrpc":"2.0","id":"%d-%d","method":"tools/call","params":{"name":%q,"arguments":{"name":"Ada"}}}`,
							n, i, tool,
						),
						map[string]string{sessionHeader: id},
					}
					resp, err := client.Do(p.to(url).WithContext(ctx))
					if err == nil {
						body, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						// A request after the end of the session gets an error.
						if err == nil && resp.StatusCode != http.StatusNotFound &&
							!strings.Contains(string(body), fmt.Sprintf(`"id":"%d-%d"`, n, i)) {
							t.Errorf("call %d-%d was answered %d %s", n, i, resp.StatusCode, body)
						}
					}
					cancel()
				}
				if n == 3 {
					resp, err := client.Do(
						testPost{"", map[string]string{sessionHeader: id}}.by(http.MethodDelete, url),
					)
					if err != nil {
						t.Error(err)
						return
					}
					resp.Body.Close()
				}
			})
		}
	}
	clients.Wait()
	if n := h.Sessions(); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
}

// The SDK handles some messages only after the responses to earlier ones: an unread response must not block it, or
// everything that the caller posts afterwards accumulates in memory.
func TestSession_AnUnreadResponseBlocksNothing(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
	id := openSession(t, serve(t, h, time.Now().Add(time.Hour)))
	in := map[string]string{sessionHeader: id}
	unread := &blockedWriter{make(http.Header), make(chan struct{}), make(chan struct{})}
	done := make(chan struct{})
	post := func(w http.ResponseWriter, body string) { serveAsAlice(h, w, testPost{body, in}.request()) }
	go func() {
		defer close(done)
		post(
			unread, `{"jsonrpc":"2.0","id":1,"method":"server/discover"}`,
		) // which the SDK rejects before it starts others
	}()
	<-unread.begun
	answered := make(chan int, 1)
	go func() {
		w := httptest.NewRecorder()
		post(w, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
		answered <- w.Code
	}()
	select {
	case status := <-answered:
		if status != http.StatusOK {
			t.Errorf("answered %d", status)
		}
	case <-time.After(5 * time.Second):
		t.Error("the session is stuck")
	}
	close(unread.read)
	<-done
}

// blockedWriter is the writer of a client that reads nothing until release is closed.
type blockedWriter struct {
	header      http.Header
	begun, read chan struct{}
}

func (u *blockedWriter) Header() http.Header { return u.header }

func (u *blockedWriter) WriteHeader(int) {}

func (u *blockedWriter) Write(p []byte) (int, error) {
	close(u.begun)
	<-u.read
	return len(p), nil
}

// A notification to all sessions does not wait for one of them.
func TestStandaloneStream_AnUnreadOneDoesNotBlockOthers(t *testing.T) {
	h := handlerOf(
		changingCatalog(),
		func(cfg *Config) { cfg.Settings.MaxSessionsPerUser, cfg.Settings.MaxStreamsPerUser = 10, 10 },
	)
	url := serve(t, h, time.Now().Add(time.Hour))
	deaf := h.sessions.lookup(openSession(t, url), "http://issuer|alice")
	stream := &blockedWriter{make(http.Header), make(chan struct{}), make(chan struct{})}
	ended := make(chan struct{})
	st := newStandaloneStream(stream, time.Now().Add(time.Hour))
	if rpcErr := deaf.attach(st, h.streams); rpcErr != nil {
		t.Fatalf("the stream is rejected: %s", rpcErr.text)
	}
	go func() {
		defer close(ended)
		deaf.serveStream(context.Background(), st, time.Hour, 0)
		deaf.detachStream(st, h.streams)
	}()
	<-stream.begun
	told := make(chan struct{}, 1)
	connectWith(t, url, "2025-11-25", &mcp.ClientOptions{
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) {
			select {
			case told <- struct{}{}:
			default:
			}
		},
	})
	awaitStreams(t, h, 2)
	mcptools.Catalog{Tools: []mcptools.Tool{greet()}}.Register(h.server)
	select {
	case <-told:
	case <-time.After(5 * time.Second):
		t.Error("the other client was not told")
	}
	// The client that does not read is disconnected.
	news := &jsonrpc.Request{Method: "notifications/message"}
	var err error
	for range maxQueuedMessages + 1 {
		err = deaf.Write(context.Background(), news)
	}
	if err == nil {
		t.Error("more is kept for a client than it may have waiting")
	}
	// The test ends the write; on a connection the write deadline does.
	stream.begun = make(chan struct{})
	close(stream.read)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("its stream goes on")
	}
}

// An idle session must not retain the largest message that it received.
func TestSession_IdleRetainsNoBody(t *testing.T) {
	h := handlerOf(
		mcptools.Catalog{Tools: []mcptools.Tool{greet()}},
		func(cfg *Config) { cfg.Settings.MaxSessionsPerUser = 20 },
	)
	url := serve(t, h, time.Now().Add(time.Hour))
	const sessions, size = 10, 900_000
	var ids []string
	for range sessions {
		ids = append(ids, openSession(t, url))
	}
	body := fmt.Sprintf(
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":%q}}}`,
		strings.Repeat("x", size),
	)
	before := heap()
	for _, id := range ids {
		if resp := request(
			t, http.MethodPost, url, body, map[string]string{sessionHeader: id},
		); resp.StatusCode != http.StatusOK {
			t.Fatalf("answered %d", resp.StatusCode)
		}
	}
	for range 50 {
		if heap()-before < sessions*size/10 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d sessions keep %d kB", sessions, (heap()-before)>>10)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A session whose ID the client may not know would keep its place until it times out.
func TestInitialize_WhoseClientHungUpLeavesNoSession(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
	ctx, hangUp := context.WithCancel(context.Background())
	r := testPost{
		`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
			`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
		nil,
	}.request()
	w := leavingWriter{httptest.NewRecorder(), hangUp}
	serveAsAlice(h, w, r.WithContext(ctx))
	if w.Header().Get(sessionHeader) == "" {
		t.Fatalf("no session began: %d %s", w.Code, w.Body)
	}
	for range 100 {
		if h.Sessions() == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d sessions are open", h.Sessions())
}

// leavingWriter is the writer of a client that disconnects when the response is written.
type leavingWriter struct {
	*httptest.ResponseRecorder
	hangUp func()
}

func (l leavingWriter) Write(p []byte) (int, error) { l.hangUp(); return l.ResponseRecorder.Write(p) }

// With ServerOptions.KeepAlive the SDK pings its sessions, also after a call without a session has ended.
func TestHandler_SendsNoPingsAfterACall(t *testing.T) {
	h := handlerOf(
		mcptools.Catalog{
			Tools:   []mcptools.Tool{greet()},
			Options: func(o *mcp.ServerOptions) { o.KeepAlive = 50 * time.Millisecond },
		},
	)
	url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
	in := map[string]string{sessionHeader: openSession(t, url)}
	before := runtime.NumGoroutine()
	for range 50 {
		serveAsAlice(h, httptest.NewRecorder(), modernCall("greet", `{"name":"Ada"}`).request())
	}
	time.Sleep(200 * time.Millisecond)
	if more := runtime.NumGoroutine() - before; more > 10 {
		t.Errorf("%d goroutines go on", more)
	}
	if resp := request(
		t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, in,
	); resp.StatusCode != http.StatusOK {
		t.Errorf("a session without a stream of its own is gone: %d", resp.StatusCode)
	}
}

// A client that reads nothing would block its response and the writing goroutine as long as the connection exists.
func TestResponses_AClientThatNeverReadsIsDisconnected(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	chatty := newTool(
		"chat",
		func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			for {
				err := req.Session.NotifyProgress(
					ctx, &mcp.ProgressNotificationParams{ProgressToken: "p", Message: strings.Repeat("x", 1<<20)},
				)
				if err != nil {
					ended <- err
					return nil, err
				}
			}
		},
	)
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{chatty}})
			h.writeTimeout = 200 * time.Millisecond
			url := serve(t, h, time.Now().Add(time.Hour))
			p := modernCall("chat", "{}")
			if version != modernVersion {
				p = legacy("tools/call", `"name":"chat"`).with(sessionHeader, openSession(t, url))
			}
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			r := p.to(url)
			r.Header.Set("Authorization", "Bearer x")
			if err := r.Write(conn); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("the call continues and on")
			}
		})
	}
}

// The write timeout does not include pauses between events.
func TestStreams_MayPauseLongerThanTheWriteTimeout(t *testing.T) {
	t.Parallel()
	slow := newTool("slow", func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for range 2 {
			if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p"}); err != nil {
				return nil, err
			}
			time.Sleep(300 * time.Millisecond)
		}
		return text("done"), nil
	})
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{slow}})
	h.writeTimeout = 100 * time.Millisecond
	url := serve(t, h, time.Now().Add(time.Hour))
	for name, p := range map[string]testPost{
		"2026-07-28": modernCall("slow", "{}"),
		"2025-11-25": legacy("tools/call", `"name":"slow"`).with(sessionHeader, openSession(t, url)),
	} {
		resp, err := bearerClient().Do(p.to(url))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || strings.Count(string(body), "notifications/progress") != 2 ||
			!strings.Contains(string(body), "done") {
			t.Errorf("%s: answered %s, %v", name, body, err)
		}
	}
}

func TestCallsInFlight_TooManyAreRejectedWithAStatus(t *testing.T) {
	for name, era := range map[string]string{
		"2026-07-28": EraDual, "in a session": EraDual, "2025-11-25 without session": EraStateless,
	} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}, 2), make(chan error, 2)
			h := handlerOf(
				mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}},
				func(cfg *Config) { cfg.Settings.MaxCallsPerUser, cfg.Settings.Era = 1, era },
			)
			url := serve(t, h, time.Now().Add(time.Hour))
			call := legacy("tools/call", `"name":"wait"`)
			switch name {
			case "2026-07-28":
				call = modernCall("wait", "{}")
			case "in a session":
				call = call.with(sessionHeader, openSession(t, url))
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				if resp, err := bearerClient().Do(call.to(url).WithContext(ctx)); err == nil {
					resp.Body.Close()
				}
			}()
			<-begun
			resp, err := bearerClient().Do(call.replaced(`"id":7`, `"id":8`).to(url))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
				t.Errorf("answered %d", resp.StatusCode)
			}
			cancel()
			<-done
			h.CloseSessions()
			<-ended
		})
	}
}

func TestSession_AShortCallDoesNotMakeItIdleDuringALongOne(t *testing.T) {
	t.Parallel()
	slow := newTool("slow", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-ctx.Done():
		case <-time.After(1600 * time.Millisecond):
		}
		return text("done"), ctx.Err()
	})
	h := handlerOf(
		mcptools.Catalog{Tools: []mcptools.Tool{slow}},
		func(cfg *Config) { cfg.Settings.SessionTimeout = time.Second },
	)
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	go func() {
		time.Sleep(100 * time.Millisecond)
		for _, body := range []string{
			`{"jsonrpc":"2.0","id":9,"method":"ping"}`, `{"jsonrpc":"2.0","method":"notifications/x"}`,
		} {
			if resp, err := bearerClient().Do(testPost{body, in}.to(url)); err == nil {
				resp.Body.Close()
			}
		}
	}()
	resp := request(
		t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow"}}`, in,
	)
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK ||
		!strings.Contains(string(body), "done") {
		t.Errorf("answered %d %s", resp.StatusCode, body)
	}
}

func TestExchange_WritesNothingToARequestThatHasEnded(t *testing.T) {
	t.Parallel()
	for name, era := range map[string]string{"in a session": EraDual, "2025-11-25 without session": EraStateless} {
		t.Run(name, func(t *testing.T) {
			begun, goOn, told := make(chan struct{}), make(chan struct{}), make(chan struct{})
			h := handlerOf(
				mcptools.Catalog{
					Tools: []mcptools.Tool{
						newTool(
							"wait",
							func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
								close(begun)
								<-goOn
								_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p"})
								close(told)
								return text("done"), nil
							},
						),
					},
				},
				func(cfg *Config) { cfg.Settings.Era = era },
			)
			var late atomic.Int64
			server := httptest.NewServer(
				authenticated(alice(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					var over atomic.Bool
					defer over.Store(true)
					_, handler, done := h.Route(r)
					defer done()
					handler.ServeHTTP(watchedWriter{w, &over, &late}, r)
				})),
			)
			defer func() { server.Close(); h.CloseSessions() }()
			call := legacy("tools/call", `"name":"wait"`)
			if era == EraDual {
				call = call.with(sessionHeader, openSession(t, server.URL))
			}
			ctx, hangUp := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				if resp, err := bearerClient().Do(call.to(server.URL).WithContext(ctx)); err == nil {
					resp.Body.Close()
				}
			}()
			<-begun
			hangUp()
			<-done
			time.Sleep(100 * time.Millisecond)
			close(goOn)
			<-told
			time.Sleep(100 * time.Millisecond)
			if n := late.Load(); n > 0 {
				t.Errorf("%d late writes", n)
			}
		})
	}
}

// watchedWriter is the writer of a request, and records writes after the end of the request.
type watchedWriter struct {
	http.ResponseWriter
	over *atomic.Bool
	late *atomic.Int64
}

func (w watchedWriter) Write(b []byte) (int, error) {
	if w.over.Load() {
		w.late.Add(1)
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

func (w watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A stream without messages for a long time ends like any other.
func TestStandaloneStream_AQuietOneEndsProperly(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, url string) *http.Response{
		"the GET stream of 2025-11-25": func(t *testing.T, url string) *http.Response {
			return request(t, http.MethodGet, url, "", map[string]string{sessionHeader: openSession(t, url)})
		},
		"subscriptions/listen of 2026-07-28": openListenStream,
	} {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(changingCatalog())
			h.writeTimeout = 50 * time.Millisecond
			stream := open(t, serve(t, h, time.Now().Add(time.Hour)))
			time.Sleep(200 * time.Millisecond)
			h.CloseStreams()
			if _, err := io.Copy(io.Discard, stream.Body); err != nil {
				t.Errorf("the stream broke: %v", err)
			}
		})
	}
}

// A client that reads receives a burst of messages completely.
func TestStandaloneStream_ABurstReachesAClientThatReads(t *testing.T) {
	for _, n := range []int{maxQueuedMessages / 2, 4 * maxQueuedMessages} {
		h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
		url := serve(t, h, time.Now().Add(time.Hour))
		id := openSession(t, url)
		s := h.sessions.lookup(id, "http://issuer|alice")
		stream := request(t, http.MethodGet, url, "", map[string]string{sessionHeader: id})
		for range 100 { // until it is open
			if s.Write(context.Background(), newNotification()) == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		taken := 1
		for range n {
			if s.Write(context.Background(), newNotification()) == nil {
				taken++
			}
		}
		_ = time.AfterFunc(300*time.Millisecond, func() { _ = s.Close() })
		body, err := io.ReadAll(stream.Body)
		if got := strings.Count(string(body), "notifications/x"); err != nil || got != taken {
			t.Errorf("%d were taken and %d arrived, %v", taken, got, err)
		}
		if n < maxQueuedMessages && taken != n+1 {
			t.Errorf("%d of %d were taken", taken, n+1)
		}
	}
}

// Which came first is undefined; a stored response is sent.
func TestSession_AResponseThatComesWithItsEndIsSent(t *testing.T) {
	for range 50 {
		s := newSession("alice", newSessionTable(DefaultSettings()), time.Minute)
		made, _ := jsonrpc.MakeID(float64(1))
		p := &sessionPost{
			handler: &Handler{},
			exchange: exchange{
				request:      &jsonrpc.Request{ID: made, Method: "x"},
				writeTimeout: time.Minute,
				recorder:     discard{},
			},
		}
		go func() {
			_, _ = s.Read(context.Background())
			_ = s.Write(context.Background(), p.newResponse())
			_ = s.Close()
		}()
		w := httptest.NewRecorder()
		rpcErr := p.call(s, w, httptest.NewRequest(http.MethodPost, "/", nil), alice())
		if rpcErr != nil || w.Body.Len() == 0 {
			t.Fatalf("answered %v %s", rpcErr, w.Body)
		}
	}
}

// A slow client is not one that does not read.
func TestResponses_ALongOneMayTakeLongerThanOneChunk(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	long := newTool("long", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text(strings.Repeat("x", size)), nil
	})
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{long}})
	h.writeTimeout = 300 * time.Millisecond
	server := httptest.NewUnstartedServer(authenticated(alice(), routed(h)))
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if tcp, ok := c.(*net.TCPConn); ok && state == http.StateNew {
			_ = tcp.SetWriteBuffer(32 << 10)
		}
	}
	server.Start()
	defer func() { server.Close(); h.CloseSessions() }()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_ = c.(*net.TCPConn).SetReadBuffer(32 << 10)
		}
		return c, err
	}
	client := &http.Client{Transport: withToken{&http.Transport{DialContext: dial, DisableKeepAlives: true}}}
	resp, err := client.Do(modernCall("long", "{}").to(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, part := 0, make([]byte, 64<<10)
	for err == nil {
		var n int
		n, err = io.ReadFull(resp.Body, part)
		got += n
		time.Sleep(20 * time.Millisecond) // a second in total
	}
	if got < size || err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Errorf("%d of %d bytes came, %v", got, size, err)
	}
}
