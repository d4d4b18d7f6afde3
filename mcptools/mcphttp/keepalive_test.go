package mcphttp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// silentTool is a tool that sends nothing until goOn is closed, and then returns "done", or err.
func silentTool(begun chan<- struct{}, goOn <-chan struct{}, err error) mcptools.Tool {
	return newTool("silent", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		begun <- struct{}{}
		select {
		case <-ctx.Done():
		case <-goOn:
		}
		return text("done"), err
	})
}

// often is a keepalive interval for tests.
const often = 10 * time.Millisecond

func withKeepalive(interval time.Duration) func(*Config) {
	return func(cfg *Config) { cfg.Settings.Keepalive = interval }
}

// ways are the transports that can serve a call.
func ways(t *testing.T, tool string) map[string]struct {
	era  string
	call func(url string) testPost
} {
	old := legacy("tools/call", `"name":"`+tool+`"`)
	return map[string]struct {
		era  string
		call func(url string) testPost
	}{
		"2026-07-28": {EraDual, func(string) testPost { return modernCall(tool, "{}") }},
		"2026-07-28, by the SDK's handler": {
			EraDual, func(string) testPost { return modernCall(tool, "{}").replaced(`"id":7`, `"id":-1`) },
		},
		"in a session": {
			EraDual, func(url string) testPost { return old.with(sessionHeader, openSession(t, url)) },
		},
		"2025-11-25 without session": {EraStateless, func(string) testPost { return old }},
		"2025-11-25, by the SDK's handler": {
			EraStateless, func(string) testPost { return old.replaced(`"id":7`, `"id":-1`) },
		},
		"without a version, stateless": {
			EraStateless, func(string) testPost { return old.with(versionHeader, "") },
		},
		"2026-07-28, where no sessions exist": {
			EraStateless, func(string) testPost { return modernCall(tool, "{}") },
		},
	}
}

// Proxies and clients close a silent response: after 60 s in nginx, 300 s in Node's fetch.
func TestKeepalive_TheResponseOfASilentToolBecomesAStream(t *testing.T) {
	t.Parallel()
	invalid := &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "no such thing"}
	for outcome, c := range map[string]struct {
		err  error
		want string
	}{"a result": {nil, "done"}, "a late error": {invalid, `"code":-32602`}} {
		for name, way := range ways(t, "silent") {
			t.Run(outcome+", "+name, func(t *testing.T) {
				begun, goOn := make(chan struct{}, 1), make(chan struct{})
				h := handlerOf(
					mcptools.Catalog{Tools: []mcptools.Tool{silentTool(begun, goOn, c.err)}}, withKeepalive(often),
					func(cfg *Config) { cfg.Settings.Era = way.era },
				)
				url := serve(t, h, time.Now().Add(time.Hour))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				resp, err := bearerClient().Do(way.call(url).to(url).WithContext(ctx))
				// returns when the response has started
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("answered %d", resp.StatusCode)
				}
				for header, want := range map[string]string{
					"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform",
					"X-Accel-Buffering": "no",
				} {
					if got := resp.Header.Get(header); got != want {
						t.Errorf("%s is %q, want %q", header, got, want)
					}
				}
				body := reading(t, resp)
				for range 3 {
					if comment := line(t, body) + line(t, body); comment != ": keepalive\n\n" {
						t.Fatalf("the stream says %q", comment)
					}
				}
				close(goOn)
				rest, err := io.ReadAll(body)
				event := strings.TrimLeft(strings.ReplaceAll(string(rest), ": keepalive\n\n", ""), "\n")
				if err != nil || strings.Count(event, "event: message\ndata: {") != 1 ||
					!strings.HasSuffix(event, "}\n\n") ||
					!strings.Contains(event, c.want) {
					t.Errorf("the stream ends with %q, %v", event, err)
				}
			})
		}
	}
}

// reading returns the body of a response, which must end within 10 s.
func reading(t *testing.T, resp *http.Response) *bufio.Reader {
	watchdog := time.AfterFunc(10*time.Second, func() { resp.Body.Close() })
	t.Cleanup(func() { watchdog.Stop() })
	return bufio.NewReaderSize(resp.Body, 1<<20)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("the stream ended: %v", err)
	}
	return text
}

func TestKeepalive_OffLeavesTheResponsePlainJSON(t *testing.T) {
	t.Parallel()
	for name, way := range ways(t, "silent") {
		t.Run(name, func(t *testing.T) {
			begun, goOn := make(chan struct{}, 1), make(chan struct{})
			h := handlerOf(
				mcptools.Catalog{Tools: []mcptools.Tool{silentTool(begun, goOn, nil)}}, withKeepalive(0),
				func(cfg *Config) { cfg.Settings.Era = way.era },
			)
			url := serve(t, h, time.Now().Add(time.Hour))
			call := way.call(url)
			time.AfterFunc(5*often, func() { close(goOn) })
			resp, err := bearerClient().Do(call.to(url))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			bySDK := strings.Contains(name, "SDK") // which always streams
			body, _ := io.ReadAll(resp.Body)
			if got := resp.Header.Get("Content-Type"); bySDK == (got == "application/json") ||
				strings.Contains(string(body), "keepalive") ||
				!strings.Contains(string(body), "done") {
				t.Errorf("answered %s %s", got, body)
			}
		})
	}
}

func TestKeepalive_OfAStandaloneStream(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, url string) *http.Response{
		"the GET stream of 2025-11-25": func(t *testing.T, url string) *http.Response {
			return request(t, http.MethodGet, url, "", map[string]string{sessionHeader: openSession(t, url)})
		},
		"subscriptions/listen of 2026-07-28": openListenStream,
	} {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(changingCatalog(), withKeepalive(often))
			h.writeTimeout = 5 * often // a write has a deadline of its own
			stream := reading(t, open(t, serve(t, h, time.Now().Add(time.Hour))))
			for comments := 0; comments < 10; {
				if line(t, stream) == ": keepalive\n" {
					comments++
				}
			}
			mcptools.Catalog{Tools: []mcptools.Tool{greet()}}.Register(h.server) // sends a notification
			for !strings.Contains(line(t, stream), "notifications/tools/list_changed") {
			}
			h.CloseStreams()
			if _, err := io.Copy(io.Discard, stream); err != nil {
				t.Errorf("the stream broke: %v", err)
			}
		})
	}
	t.Run("and not if keepalive is off", func(t *testing.T) {
		for _, open := range []func(*Handler, http.ResponseWriter){
			func(h *Handler, w http.ResponseWriter) {
				serveAsAlice(h, w, modern("subscriptions/listen", `"notifications":{"toolsListChanged":true}`).request())
			},
		} {
			h := handlerOf(changingCatalog(), withKeepalive(0))
			w := httptest.NewRecorder()
			time.AfterFunc(5*often, h.CloseStreams)
			open(h, w)
			if strings.Contains(w.Body.String(), "keepalive") ||
				!strings.Contains(w.Body.String(), "acknowledged") {
				t.Errorf("the stream says %s", w.Body)
			}
		}
	})
}

// Events of a tool and comments are written by different goroutines.
func TestKeepalive_CommentsAreBetweenEvents(t *testing.T) {
	const events = 200
	chatty := newTool(
		"chat",
		func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			for i := range events {
				if err := req.Session.NotifyProgress(
					ctx, &mcp.ProgressNotificationParams{ProgressToken: "p", Message: strings.Repeat("x", 1000)},
				); err != nil {
					return nil, err
				}
				if i%20 == 0 {
					time.Sleep(4 * time.Millisecond)
				}
			}
			return text("done"), nil
		},
	)
	for name, way := range ways(t, "chat") {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(
				mcptools.Catalog{Tools: []mcptools.Tool{chatty}}, withKeepalive(time.Millisecond),
				func(cfg *Config) { cfg.Settings.Era = way.era },
			)
			url := serve(t, h, time.Now().Add(time.Hour))
			resp, err := bearerClient().Do(way.call(url).to(url))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			progress := 0
			for _, block := range strings.Split(strings.TrimSuffix(string(body), "\n\n"), "\n\n") {
				switch {
				case block == ": keepalive":
				case strings.HasPrefix(block, "event: message\ndata: {") && strings.HasSuffix(block, "}") &&
					strings.Count(block, "\n") == 1:
					progress += strings.Count(block, "notifications/progress")
				default:
					t.Fatalf("the stream says %q", block)
				}
			}
			if progress != events || !strings.Contains(string(body), "done") {
				t.Errorf("%d events came, want %d", progress, events)
			}
		})
	}
}

// A client that does not read delays only its own response: the session continues once the response is stored.
func TestKeepalive_AnUnreadCommentDoesNotBlockTheResponse(t *testing.T) {
	unread := &blockedWriter{make(http.Header), make(chan struct{}), make(chan struct{})}
	e := newTestExchange(unread, 1)
	e.keepalive = time.Millisecond
	over := make(chan struct{})
	go func() {
		defer close(over)
		e.wait(t.Context(), nil)
	}()
	<-unread.begun
	sent := make(chan error, 1)
	go func() { sent <- e.send(e.newResponse()) }()
	select {
	case err := <-sent:
		if err != nil {
			t.Errorf("the response is not taken: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the response waits for the client")
	}
	close(unread.read)
	<-over
}

// vanishingWriter is the writer of a client that disconnects after the start of a stream.
type vanishingWriter struct {
	*httptest.ResponseRecorder
	writes atomic.Int64
}

func (v *vanishingWriter) Write(p []byte) (int, error) {
	if v.writes.Add(1) > 1 {
		return goneWriter{}.Write(p)
	}
	return v.ResponseRecorder.Write(p)
}

func TestKeepalive_NoticesADeadPeer(t *testing.T) {
	for name, interval := range map[string]time.Duration{"every 15 s": 15 * time.Second, "every minute": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				s := newSession("alice", newSessionTable(DefaultSettings()), time.Hour)
				defer s.Close()
				st := newStandaloneStream(
					&vanishingWriter{ResponseRecorder: httptest.NewRecorder()}, time.Now().Add(time.Hour),
				)
				s.serveStream(t.Context(), st, defaultWriteTimeout, interval)
				if took := time.Since(begin); took != interval {
					t.Errorf("a standing stream lasts %v", took)
				}
				begin = time.Now()
				h := handlerOf(mcptools.Catalog{}, withKeepalive(interval))
				r := modern("subscriptions/listen", "").request()
				h.first.withCallContext(message{}, h.withKeepalive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/event-stream")
					_, _ = w.Write([]byte("event: message\ndata: {}\n\n"))
					<-r.Context().Done()
				}))).ServeHTTP(&vanishingWriter{ResponseRecorder: httptest.NewRecorder()}, r)
				if took := time.Since(begin); took != interval {
					t.Errorf("a stream of subscriptions/listen lasts %v", took)
				}
			})
		})
	}
}

// What the SDK's handler rejects at once keeps its status.
func TestKeepalive_ChangesNoErrorStatus(t *testing.T) {
	h := handlerOf(changingCatalog(), withKeepalive(time.Minute))
	url := serve(t, h, time.Now().Add(time.Hour))
	for name, c := range map[string]struct {
		p      testPost
		status int
	}{
		"an Accept that is too narrow": {
			modernCall("whoami", "{}").replaced(`"id":7`, `"id":-1`).with("Accept", "application/json"), 400,
		},
		"a header that does not agree": {modernCall("whoami", "{}").with(nameHeader, "other"), 400},
		"a listener without params":    {modern("subscriptions/listen", "").replaced(`"id":7`, `"id":[7]`), 400},
		"a tool that does not exist":   {modernCall("nosuch", "{}").replaced(`"id":7`, `"id":-1`), 400},
	} {
		resp, err := bearerClient().Do(c.p.to(url))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || strings.Contains(resp.Header.Get("Content-Type"), "event-stream") {
			t.Errorf("%s: answered %d %s %s", name, resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
	}
}

// A client reopens its stream because it has lost the old one, which the server may not notice for minutes.
func TestStandaloneStream_TheNewestReplacesTheOldOne(t *testing.T) {
	h := handlerOf(changingCatalog(), func(cfg *Config) { cfg.Settings.MaxStreamsPerUser = 1 })
	url := serve(t, h, time.Now().Add(time.Hour))
	in := map[string]string{sessionHeader: openSession(t, url)}
	old := request(t, http.MethodGet, url, "", in)
	for range 3 {
		latest := request(t, http.MethodGet, url, "", in)
		if latest.StatusCode != http.StatusOK {
			t.Fatalf("answered %d", latest.StatusCode)
		}
		body, err := io.ReadAll(old.Body)
		if err != nil || string(body) != ": ok\n\nretry: 30000\n\n" {
			t.Errorf("the old stream says %q, %v", body, err)
		}
		old = latest
	}
	mcptools.Catalog{Tools: []mcptools.Tool{greet()}}.Register(h.server)
	stream := reading(t, old)
	for !strings.Contains(line(t, stream), "notifications/tools/list_changed") {
	}
	t.Run("the place is given back once", func(t *testing.T) {
		old.Body.Close()
		for range 500 {
			h.streams.mu.Lock()
			total := h.streams.total
			h.streams.mu.Unlock()
			if total == 0 {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Error("it is not given back")
	})
}

// The old stream may be blocked in a write that its peer does not read.
func TestStandaloneStream_AnUnreadOneIsReplacedAtOnce(t *testing.T) {
	h := handlerOf(changingCatalog(), func(cfg *Config) { cfg.Settings.MaxStreamsPerUser = 1 })
	url := serve(t, h, time.Now().Add(time.Hour))
	id := openSession(t, url)
	s := h.sessions.lookup(id, "http://issuer|alice")
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := testPost{"", map[string]string{sessionHeader: id}}.by(http.MethodGet, url)
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	awaitStreams(t, h, 1)
	s.mu.Lock()
	old := s.stream
	s.mu.Unlock()
	large := &jsonrpc.Request{
		Method: "notifications/x",
		Params: []byte(`"` + strings.Repeat("x", 256<<10) + `"`),
	}
	for range 40 {
		_ = s.Write(context.Background(), large)
	}
	waiting := len(old.queue)
	for n := -1; n != waiting; { // until the write blocks
		time.Sleep(20 * time.Millisecond)
		n, waiting = waiting, len(old.queue)
	}
	begin := time.Now()
	latest := request(t, http.MethodGet, url, "", map[string]string{sessionHeader: id})
	if latest.StatusCode != http.StatusOK {
		t.Fatalf("answered %d", latest.StatusCode)
	}
	stream := reading(t, latest)
	for range waiting { // what the old stream had not written
		for !strings.Contains(line(t, stream), "notifications/x") {
		}
	}
	for h.sessions.streamsOf(s) != 1 {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("the old stream goes on")
		}
		time.Sleep(time.Millisecond)
	}
}

func (t *sessionTable) streamsOf(s *session) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return s.use.streams
}
