package mcphttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"gatehouse/mcptools"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve puts a handler on a real listener, with every request authenticated as alice with these scopes.
func serve(t *testing.T, h *Handler, expiry time.Time, scopes ...string) string {
	t.Helper()
	id := alice(scopes...)
	id.Expiry, id.ExpiryWithLeeway = expiry, expiry
	server := httptest.NewServer(
		authenticated(id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
			routed(h).ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), writerKey{}, w)))
		})),
	)
	t.Cleanup(func() {
		h.CloseStreams()
		server.Close()
		h.CloseSessions()
	})
	return server.URL
}

// reasonHeader has the reason that the access log would have.
const reasonHeader = "X-Reason"

// headerRecorder is a Recorder that sends the reason to the client.
type headerRecorder struct{ discard }

// writerKey is the context key of the response writer of a request.
type writerKey struct{}

func (headerRecorder) RecordResult(ctx context.Context, r Result) {
	if w, ok := ctx.Value(writerKey{}).(http.ResponseWriter); ok && r.Reason != "" {
		w.Header().Set(reasonHeader, string(r.Reason))
	}
}

// bearerClient adds a token to every request.
func bearerClient() *http.Client {
	return &http.Client{Transport: withToken{&http.Transport{DisableKeepAlives: true}}}
}

type withToken struct{ http.RoundTripper }

func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer x")
	return t.RoundTripper.RoundTrip(r)
}

func connect(t *testing.T, url, protocol string) *mcp.ClientSession {
	t.Helper()
	return connectWith(t, url, protocol, nil)
}

func connectWith(t *testing.T, url, protocol string, o *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, o)
	s, err := client.Connect(
		context.Background(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: bearerClient()},
		&mcp.ClientSessionOptions{ProtocolVersion: protocol},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// handlerOf serves a catalog with the default settings, modified by change.
func handlerOf(catalog mcptools.Catalog, change ...func(*Config)) *Handler {
	cfg := Config{
		Policy:   Policy{Settings: DefaultSettings()},
		Info:     mcp.Implementation{Name: "test", Version: "1"},
		Logger:   slog.New(slog.DiscardHandler),
		Recorder: headerRecorder{},
	}
	for _, f := range change {
		f(&cfg)
	}
	return NewHandler(cfg, catalog)
}

func TestMiddleware_APanickingToolDoesNotEndTheProcess(t *testing.T) {
	trap := newTool("trap", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		panic("the secret is 42")
	})
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(protocol, func(t *testing.T) {
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{trap, whoami()}})
			s := connect(t, serve(t, h, time.Now().Add(time.Hour)), protocol)
			_, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "trap"})
			if err == nil || !strings.Contains(err.Error(), "internal error") ||
				strings.Contains(err.Error(), "42") {
				t.Errorf("the caller gets %v", err)
			}
			if r, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "whoami"}); err != nil ||
				r.IsError {
				t.Errorf("afterwards whoami answers %v, %v", r, err)
			}
		})
	}
}

func TestHandler_AnUnknownToolIsAnErrorInBothEras(t *testing.T) {
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{whoami()}})
		s := connect(t, serve(t, h, time.Now().Add(time.Hour)), protocol)
		if _, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "nosuch"}); err == nil {
			t.Errorf("%s: no error", protocol)
		}
	}
}

// changingCatalog announces that its list of tools changes, so that clients can listen for it.
func changingCatalog() mcptools.Catalog {
	return mcptools.Catalog{
		Tools:   []mcptools.Tool{whoami()},
		Options: func(o *mcp.ServerOptions) { o.Capabilities.Tools.ListChanged = true },
	}
}

// A notification stream must not outlive its token.
func TestStreams_EndWithTheirToken(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, url string) *http.Response{
		"the GET stream of 2025-11-25": func(t *testing.T, url string) *http.Response {
			begun := request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":0,"method":"initialize",`+
				`"params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, nil)
			_, _ = io.Copy(io.Discard, begun.Body)
			return request(t, http.MethodGet, url, "", map[string]string{
				sessionHeader: begun.Header.Get(sessionHeader), "Accept": "text/event-stream",
			})
		},
		"subscriptions/listen of 2026-07-28": openListenStream,
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, handlerOf(changingCatalog()), time.Now().Add(time.Second))
			begin := time.Now()
			resp := open(t, url)
			if resp.StatusCode != http.StatusOK {
				body, _ := io.ReadAll(resp.Body)
				t.Fatalf("answered %d %s", resp.StatusCode, body)
			}
			ran := processTime(t)
			_, _ = io.Copy(io.Discard, resp.Body)
			if took := time.Since(begin); ran() > 3*time.Second || took < 300*time.Millisecond {
				t.Errorf("the stream lasted %v, its token about a second", took)
			}
		})
	}
}

// processTime measures the time in which this process runs. On a machine that stalls, everything is late, which
// proves
// nothing.
func processTime(t *testing.T) func() time.Duration {
	const tick = 10 * time.Millisecond
	var ticks atomic.Int64
	ticker, done := time.NewTicker(tick), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				ticks.Add(1)
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() { ticker.Stop(); close(done) })
	return func() time.Duration { return time.Duration(ticks.Load()) * tick }
}

// request sends one request as a client would.
func request(t *testing.T, method, url, body string, header map[string]string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := bearerClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// openListenStream opens a stream of subscriptions/listen.
func openListenStream(t *testing.T, url string) *http.Response {
	t.Helper()
	return request(
		t,
		http.MethodPost,
		url,
		`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen",`+
			`"params":{"notifications":{"toolsListChanged":true},`+
			`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
			`"io.modelcontextprotocol/clientCapabilities":{}}}}`,
		map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"},
	)
}

func TestListenStreams_AreLimitedAndEndWhenTheServerStops(t *testing.T) {
	h := handlerOf(changingCatalog(), func(cfg *Config) { cfg.Settings.MaxStreamsPerUser = 2 })
	url := serve(t, h, time.Now().Add(time.Hour))
	first, second := openListenStream(t, url), openListenStream(t, url)
	if first.StatusCode != http.StatusOK || second.StatusCode != http.StatusOK {
		t.Fatalf("the streams answered %d and %d", first.StatusCode, second.StatusCode)
	}
	if third := openListenStream(t, url); third.StatusCode != http.StatusTooManyRequests ||
		third.Header.Get("Retry-After") == "" {
		t.Errorf("the third answered %d, want 429 with Retry-After", third.StatusCode)
	}
	begin := time.Now()
	h.CloseStreams()
	text, _ := io.ReadAll(first.Body)
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the stream ended after %v", took)
	}
	if !strings.Contains(string(text), "acknowledged") { // TR-20
		t.Errorf("the stream did not begin with its acknowledgement: %s", text)
	}
}

// waitTool is a tool that reports when it starts and why it ends.
func waitTool(begun chan<- struct{}, ended chan<- error) mcptools.Tool {
	return newTool("wait", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, ctx.Err()
	})
}

// TR-21: closing the response cancels the call. (Before MCP 2026-07-28 it must not: clients send a notification.)
func TestStatelessCall_EndsWhenItsClientHangsUp(t *testing.T) {
	for name, id := range map[string]string{"served directly": "1", "served by the SDK's handler": "-1"} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}, 1), make(chan error, 1)
			url := serve(
				t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}}),
				time.Now().Add(time.Hour),
			)
			ctx, hangUp := context.WithCancel(context.Background())
			defer hangUp()
			req := modernCall("wait", "{}").replaced(`"id":7`, `"id":`+id).to(url).WithContext(ctx)
			go func() {
				if resp, err := bearerClient().Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			<-begun
			hangUp()
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Error("the call continues without its client")
			}
		})
	}
}

// A call uses memory until it ends, also after its client is gone.
func TestCallsInFlight_AreLimited(t *testing.T) {
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(protocol, func(t *testing.T) {
			begun, ended := make(chan struct{}, 10), make(chan error, 10)
			h := handlerOf(
				mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}},
				func(cfg *Config) { cfg.Settings.MaxCallsPerUser = 2 },
			)
			url := serve(t, h, time.Now().Add(time.Hour))
			s := connect(t, url, protocol)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var calls sync.WaitGroup
			for range 2 {
				calls.Go(func() { _, _ = s.CallTool(ctx, &mcp.CallToolParams{Name: "wait"}) })
				<-begun
			}
			if _, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "wait"}); err == nil {
				t.Error("the third call was served")
			}
			if protocol == modernVersion {
				resp := request(
					t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}`,
					map[string]string{versionHeader: protocol},
				)
				if reason := resp.Header.Get(reasonHeader); resp.StatusCode != http.StatusTooManyRequests ||
					reason != string(ReasonTooManyCalls) {
					t.Errorf("the third call was answered %d, and the reason is %q", resp.StatusCode, reason)
				}
			}
			cancel()
			calls.Wait()
			<-ended
			<-ended
			for range 100 {
				if h.calls.full("http://issuer|alice") == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Error("ended calls still count")
		})
	}
}

// An abandoned call must not block the end of the process.
func TestCloseSessions_EndsAbandonedCalls(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}})
	s := connect(t, serve(t, h, time.Now().Add(time.Hour)), "2025-11-25")
	ctx, hangUp := context.WithCancel(context.Background())
	go func() { _, _ = s.CallTool(ctx, &mcp.CallToolParams{Name: "wait"}) }()
	<-begun
	defer hangUp()
	begin := time.Now()
	h.CloseSessions()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("closing took %v", took)
	}
	<-ended
}

func TestCalls_EndAtTheirDeadlineInBothEras(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(protocol, func(t *testing.T) {
			begun, ended := make(chan struct{}, 1), make(chan error, 1)
			h := handlerOf(
				mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}},
				func(cfg *Config) { cfg.Settings.CallTimeout = 200 * time.Millisecond },
			)
			s := connect(t, serve(t, h, time.Now().Add(time.Hour)), protocol)
			if r, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "wait"}); err == nil &&
				!r.IsError {
				t.Error("the call succeeded")
			}
			if cause := <-ended; cause != context.DeadlineExceeded {
				t.Errorf("the call ended by %v", cause)
			}
		})
	}
}

// Rule TR-19.
func TestHandler_AnUnknownResourceIsInvalidParams(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Resources: []mcptools.Resource{{
		Resource: &mcp.Resource{URI: "doc://a", Name: "a"},
		Handler: func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{
				Contents: []*mcp.ResourceContents{{URI: "doc://a", Text: "content"}},
			}, nil
		},
	}}})
	s := connect(t, serve(t, h, time.Now().Add(time.Hour)), "2026-07-28")
	if r, err := s.ReadResource(context.Background(), &mcp.ReadResourceParams{URI: "doc://a"}); err != nil ||
		r.Contents[0].Text != "content" {
		t.Errorf("a known one: %v, %v", r, err)
	}
	_, err := s.ReadResource(context.Background(), &mcp.ReadResourceParams{URI: "doc://nosuch"})
	var wire *jsonrpc.Error
	if !errors.As(err, &wire) || wire.Code != jsonrpc.CodeInvalidParams {
		t.Errorf("an unknown one: %v, want -32602", err)
	}
}

func TestHandler_ABodyAboveTheLimitIs413(t *testing.T) {
	t.Parallel()
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{whoami()}})
	url := serve(t, h, time.Now().Add(time.Hour))
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":%q}}`, strings.Repeat("x", 2<<20))
	resp, err := bearerClient().Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %d, want 413", resp.StatusCode)
	}
}

// A client that never reads must not keep a connection.
func TestResponses_AllHaveAWriteDeadline(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{whoami()}})
	opened := httptest.NewRecorder()
	serveAsAlice(
		h,
		opened,
		legacy(
			"initialize",
			`"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}`,
		).request(),
	)
	defer h.CloseSessions()
	in := opened.Header().Get(sessionHeader)
	for name, p := range map[string]testPost{
		"an answer":              modern("tools/list", ""),
		"an answer in a session": legacy("tools/list", "").with(sessionHeader, in),
		"a notification":         legacy("notifications/initialized", "").replaced(`"id":7,`, "").with(sessionHeader, in),
		"a refusal":              legacy("tools/list", ""),
	} {
		w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
		serveAsAlice(h, w, p.request())
		if left := time.Until(w.by); left <= 0 || left > time.Minute {
			t.Errorf("%s (%d) has to be read within %v", name, w.Code, left)
		}
	}
}

// deadlineRecorder records the write deadline of a response.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	by time.Time
}

func (h *deadlineRecorder) SetWriteDeadline(by time.Time) error { h.by = by; return nil }

// A nil slice is null in JSON, which clients do not accept as an empty list.
func TestHandler_WithoutToolsListsNone(t *testing.T) {
	for _, showAll := range []bool{false, true} {
		for era, ask := range map[string]testPost{EraDual: modern("tools/list", ""), EraStateless: legacy("tools/list", "")} {
			url := serve(
				t,
				handlerOf(mcptools.Catalog{}, func(cfg *Config) { cfg.Tools.ShowAll, cfg.Settings.Era = showAll, era }),
				time.Now().Add(time.Hour),
			)
			resp, err := bearerClient().Do(ask.to(url))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK ||
				!strings.Contains(string(body), `"tools":[]`) {
				t.Errorf("%s, show_all %t: %d %s, %v", era, showAll, resp.StatusCode, body, err)
			}
			list, err := connect(t, url, "2025-11-25").ListTools(t.Context(), nil)
			if err != nil || list.Tools == nil || len(list.Tools) > 0 {
				t.Errorf("%s, 2025-11-25, show_all %t: %v, %v", era, showAll, list, err)
			}
		}
	}
}
