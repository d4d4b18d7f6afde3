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

// A session that did not come about takes no place, and its id is told to nobody.
func TestAHandshakeThatFailsLeavesNoSession(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
	url := serve(t, h, time.Now().Add(time.Hour))
	for name, body := range map[string]string{
		"no params":         `{"jsonrpc":"2.0","id":1,"method":"initialize"}`,
		"params of no kind": `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":7}}`,
		"no id":             `{"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
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

// A call keeps its session alive, however long it takes; from its end on the session may be idle for as long as the setting says.
func TestASessionIsNotIdleWhileSomebodyWaitsForACall(t *testing.T) {
	slow := mcptools.Define(mcptools.Definition{Name: "slow", Description: "x"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		select {
		case <-ctx.Done():
		case <-time.After(600 * time.Millisecond):
		}
		return text("done"), nil, ctx.Err()
	})
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{slow}}, func(cfg *Config) { cfg.Settings.SessionTimeout = 300 * time.Millisecond })
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: opened(t, url)}
	resp := request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow"}}`, in)
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "done") {
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

// Many clients that call, hang up, listen, and end their sessions in the middle of it all.
func TestASessionSurvivesClientsOfEveryTemper(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet(), reporting()}}, func(cfg *Config) { cfg.Settings.MaxSessionsPerUser = 100 })
	url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: withToken{transport}}
	var clients sync.WaitGroup
	for range 4 {
		id := opened(t, url)
		for n := range 4 {
			clients.Go(func() {
				for i := range 40 {
					tool := []string{"greet", "report"}[i%2]
					ctx, cancel := context.WithCancel(context.Background())
					if i%7 == n {
						ctx, cancel = context.WithTimeout(context.Background(), time.Duration(i)*20*time.Microsecond)
					}
					p := posted{fmt.Sprintf(`{"jsonrpc":"2.0","id":"%d-%d","method":"tools/call","params":{"name":%q,"arguments":{"name":"Ada"}}}`, n, i, tool), map[string]string{sessionHeader: id}}
					resp, err := client.Do(p.to(url).WithContext(ctx))
					if err == nil {
						body, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						// Whoever comes after the session's end hears of it.
						if err == nil && resp.StatusCode != http.StatusNotFound && !strings.Contains(string(body), fmt.Sprintf(`"id":"%d-%d"`, n, i)) {
							t.Errorf("call %d-%d was answered %d %s", n, i, resp.StatusCode, body)
						}
					}
					cancel()
				}
				if n == 3 {
					resp, err := client.Do(posted{"", map[string]string{sessionHeader: id}}.by(http.MethodDelete, url))
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

// The SDK handles a message only when it has answered some of those before it: what nobody reads must not keep it from doing so, or all
// that a caller posts afterwards piles up in memory.
func TestAnAnswerThatNobodyReadsHoldsUpNothing(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
	id := opened(t, serve(t, h, time.Now().Add(time.Hour)))
	in := map[string]string{sessionHeader: id}
	unread := &blocked{make(http.Header), make(chan struct{}), make(chan struct{})}
	done := make(chan struct{})
	post := func(w http.ResponseWriter, body string) { behind(h, w, posted{body, in}.request()) }
	go func() {
		defer close(done)
		post(unread, `{"jsonrpc":"2.0","id":1,"method":"server/discover"}`) // which the SDK refuses before it lets others begin
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

// blocked is a client that reads nothing until it is told to.
type blocked struct {
	header      http.Header
	begun, read chan struct{}
}

func (u *blocked) Header() http.Header { return u.header }

func (u *blocked) WriteHeader(int) {}

func (u *blocked) Write(p []byte) (int, error) {
	close(u.begun)
	<-u.read
	return len(p), nil
}

// Whoever tells all sessions something does not wait for one of them.
func TestAStandingStreamThatNobodyReadsKeepsNewsFromNobody(t *testing.T) {
	h := handlerOf(changing(), func(cfg *Config) { cfg.Settings.MaxSessionsPerUser, cfg.Settings.MaxStreamsPerUser = 10, 10 })
	url := serve(t, h, time.Now().Add(time.Hour))
	deaf := h.sessions.lookup(opened(t, url), "http://issuer|alice")
	stream := &blocked{make(http.Header), make(chan struct{}), make(chan struct{})}
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
	untilStanding(t, h, 2)
	mcptools.Catalog{Tools: []mcptools.Tool{greet()}}.Register(h.server)
	select {
	case <-told:
	case <-time.After(5 * time.Second):
		t.Error("the other client was not told")
	}
	// And the one who does not read is given up instead of kept supplied.
	news := &jsonrpc.Request{Method: "notifications/message"}
	var err error
	for range maxQueuedMessages + 1 {
		err = deaf.Write(context.Background(), news)
	}
	if err == nil {
		t.Error("more is kept for a client than it may have waiting")
	}
	// For the test the writer returns at last; on a connection its deadline sees to that.
	stream.begun = make(chan struct{})
	close(stream.read)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("its stream goes on")
	}
}

// An idle session must not hold the largest message that ever came.
func TestAnIdleSessionKeepsNoBody(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}}, func(cfg *Config) { cfg.Settings.MaxSessionsPerUser = 20 })
	url := serve(t, h, time.Now().Add(time.Hour))
	const sessions, size = 10, 900_000
	var ids []string
	for range sessions {
		ids = append(ids, opened(t, url))
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":%q}}}`, strings.Repeat("x", size))
	before := heap()
	for _, id := range ids {
		if resp := request(t, http.MethodPost, url, body, map[string]string{sessionHeader: id}); resp.StatusCode != http.StatusOK {
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

// A session whose id nobody may have heard would keep its place until it times out.
func TestAHandshakeWhoseClientHungUpLeavesNoSession(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
	ctx, hangUp := context.WithCancel(context.Background())
	r := posted{`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, nil}.request()
	w := leaving{httptest.NewRecorder(), hangUp}
	behind(h, w, r.WithContext(ctx))
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

// leaving is a client that goes just when it is answered.
type leaving struct {
	*httptest.ResponseRecorder
	hangUp func()
}

func (l leaving) Write(p []byte) (int, error) { l.hangUp(); return l.ResponseRecorder.Write(p) }

// A tool may have been written for a server that asks its sessions whether they are there. Nothing may go on for a call that is over.
func TestNothingKeepsAskingWhetherAClientIsThere(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}, Options: func(o *mcp.ServerOptions) { o.KeepAlive = 50 * time.Millisecond }})
	url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
	in := map[string]string{sessionHeader: opened(t, url)}
	before := runtime.NumGoroutine()
	for range 50 {
		behind(h, httptest.NewRecorder(), modernlyCalling("greet", `{"name":"Ada"}`).request())
	}
	time.Sleep(200 * time.Millisecond)
	if more := runtime.NumGoroutine() - before; more > 10 {
		t.Errorf("%d goroutines go on", more)
	}
	if resp := request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, in); resp.StatusCode != http.StatusOK {
		t.Errorf("a session without a stream of its own is gone: %d", resp.StatusCode)
	}
}

// A client that reads nothing would hold its answer, and whoever writes it, for as long as its connection lives.
func TestAClientThatNeverReadsIsGivenUp(t *testing.T) {
	ended := make(chan error, 1)
	chatty := mcptools.Define(mcptools.Definition{Name: "chat", Description: "x"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		for {
			err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p", Message: strings.Repeat("x", 1<<20)})
			if err != nil {
				ended <- err
				return nil, nil, err
			}
		}
	})
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{chatty}})
			h.writeTimeout = 200 * time.Millisecond
			url := serve(t, h, time.Now().Add(time.Hour))
			p := modernlyCalling("chat", "{}")
			if version != modernVersion {
				p = legacily("tools/call", `"name":"chat"`).with(sessionHeader, opened(t, url))
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
				t.Error("the call goes on and on")
			}
		})
	}
}

// A pause between two events is no fault of the client's.
func TestAStreamMayPauseForLongerThanAMessageMayTake(t *testing.T) {
	slow := mcptools.Define(mcptools.Definition{Name: "slow", Description: "x"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		for range 2 {
			if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p"}); err != nil {
				return nil, nil, err
			}
			time.Sleep(300 * time.Millisecond)
		}
		return text("done"), nil, nil
	})
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{slow}})
	h.writeTimeout = 100 * time.Millisecond
	url := serve(t, h, time.Now().Add(time.Hour))
	for name, p := range map[string]posted{
		"2026-07-28": modernlyCalling("slow", "{}"), "2025-11-25": legacily("tools/call", `"name":"slow"`).with(sessionHeader, opened(t, url)),
	} {
		resp, err := bearerClient().Do(p.to(url))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || strings.Count(string(body), "notifications/progress") != 2 || !strings.Contains(string(body), "done") {
			t.Errorf("%s: answered %s, %v", name, body, err)
		}
	}
}

func TestWhoHasTooManyCallsInFlightIsToldSoByAStatus(t *testing.T) {
	for name, era := range map[string]string{"2026-07-28": EraDual, "in a session": EraDual, "2025-11-25 without session": EraStateless} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}, 2), make(chan error, 2)
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waiting(begun, ended)}}, func(cfg *Config) { cfg.Settings.MaxCallsPerUser, cfg.Settings.Era = 1, era })
			url := serve(t, h, time.Now().Add(time.Hour))
			call := legacily("tools/call", `"name":"wait"`)
			switch name {
			case "2026-07-28":
				call = modernlyCalling("wait", "{}")
			case "in a session":
				call = call.with(sessionHeader, opened(t, url))
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

func TestAShortCallDoesNotMakeASessionIdleInWhichALongOneGoesOn(t *testing.T) {
	slow := mcptools.Define(mcptools.Definition{Name: "slow", Description: "x"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		select {
		case <-ctx.Done():
		case <-time.After(800 * time.Millisecond):
		}
		return text("done"), nil, ctx.Err()
	})
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{slow}}, func(cfg *Config) { cfg.Settings.SessionTimeout = 300 * time.Millisecond })
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: opened(t, url)}
	go func() {
		time.Sleep(100 * time.Millisecond)
		for _, body := range []string{`{"jsonrpc":"2.0","id":9,"method":"ping"}`, `{"jsonrpc":"2.0","method":"notifications/x"}`} {
			if resp, err := bearerClient().Do(posted{body, in}.to(url)); err == nil {
				resp.Body.Close()
			}
		}
	}()
	resp := request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow"}}`, in)
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "done") {
		t.Errorf("answered %d %s", resp.StatusCode, body)
	}
}

func TestNothingIsWrittenToARequestThatIsOver(t *testing.T) {
	for name, era := range map[string]string{"in a session": EraDual, "2025-11-25 without session": EraStateless} {
		t.Run(name, func(t *testing.T) {
			begun, goOn, told := make(chan struct{}), make(chan struct{}), make(chan struct{})
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{mcptools.Define(mcptools.Definition{Name: "wait", Description: "x"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
				close(begun)
				<-goOn
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p"})
				close(told)
				return text("done"), nil, nil
			})}}, func(cfg *Config) { cfg.Settings.Era = era })
			var late atomic.Int64
			server := httptest.NewServer(authenticated(alice(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var over atomic.Bool
				defer over.Store(true)
				_, handler, done := h.Route(r)
				defer done()
				handler.ServeHTTP(watched{w, &over, &late}, r)
			})))
			defer func() { server.Close(); h.CloseSessions() }()
			call := legacily("tools/call", `"name":"wait"`)
			if era == EraDual {
				call = call.with(sessionHeader, opened(t, server.URL))
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

// watched is the writer of a request; nobody may use it when the request is over.
type watched struct {
	http.ResponseWriter
	over *atomic.Bool
	late *atomic.Int64
}

func (w watched) Write(b []byte) (int, error) {
	if w.over.Load() {
		w.late.Add(1)
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

func (w watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A stream that had nothing to say for long ends like any other.
func TestAQuietStandingStreamEndsInOrder(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, url string) *http.Response{
		"the GET stream of 2025-11-25": func(t *testing.T, url string) *http.Response {
			return request(t, http.MethodGet, url, "", map[string]string{sessionHeader: opened(t, url)})
		},
		"subscriptions/listen of 2026-07-28": listening,
	} {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(changing())
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

// Many messages at once are no fault of a client's that reads; and what was taken for it is sent.
func TestABurstReachesAClientThatReads(t *testing.T) {
	for _, n := range []int{maxQueuedMessages / 2, 4 * maxQueuedMessages} {
		h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{greet()}})
		url := serve(t, h, time.Now().Add(time.Hour))
		id := opened(t, url)
		s := h.sessions.lookup(id, "http://issuer|alice")
		stream := request(t, http.MethodGet, url, "", map[string]string{sessionHeader: id})
		for range 100 { // until it stands
			if s.Write(context.Background(), aNotification()) == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		taken := 1
		for range n {
			if s.Write(context.Background(), aNotification()) == nil {
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

// Which of two things came first cannot be told; an answer that is there is sent.
func TestAnAnswerThatComesWithTheSessionsEndIsSent(t *testing.T) {
	for range 50 {
		s := newSession("alice", newSessionTable(DefaultSettings()), time.Minute)
		made, _ := jsonrpc.MakeID(float64(1))
		p := &sessionPost{exchange: exchange{request: &jsonrpc.Request{ID: made, Method: "x"}, writeTimeout: time.Minute, recorder: discard{}}}
		go func() {
			_, _ = s.Read(context.Background())
			_ = s.Write(context.Background(), p.itsResponse())
			_ = s.Close()
		}()
		w := httptest.NewRecorder()
		rpcErr := p.call(s, w, httptest.NewRequest(http.MethodPost, "/", nil), alice())
		if rpcErr != nil || w.Body.Len() == 0 {
			t.Fatalf("answered %v %s", rpcErr, w.Body)
		}
	}
}

// A slow line is not one that nobody reads.
func TestALongAnswerMayTakeLongerThanAPieceOfIt(t *testing.T) {
	const size = 3 << 20
	long := mcptools.Define(mcptools.Definition{Name: "long", Description: "x"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return text(strings.Repeat("x", size)), nil, nil
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
	resp, err := client.Do(modernlyCalling("long", "{}").to(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, part := 0, make([]byte, 64<<10)
	for err == nil {
		var n int
		n, err = io.ReadFull(resp.Body, part)
		got += n
		time.Sleep(20 * time.Millisecond) // a second for all of it
	}
	if got < size || err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Errorf("%d of %d bytes came, %v", got, size, err)
	}
}
