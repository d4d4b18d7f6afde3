package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// remote returns the settings of an upstream by HTTP.
func remote(url string) Settings {
	s := DefaultSettings("far")
	s.URL, s.Tools, s.Prefix = url, []string{"*"}, ""
	return s
}

// sdkServer serves the SDK's handler. It has the tools text, which returns its argument and the subject of the caller,
// and slow.
func sdkServer(t testing.TB, o *mcp.StreamableHTTPOptions, ran *atomic.Int64) http.Handler {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "sdk", Version: "2"}, nil)
	t.Cleanup(func() {
		for s := range server.Sessions() {
			_ = s.Close()
		}
	})
	type in struct {
		Text string `json:"text"`
	}
	reply := func(s string) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
	}
	mcp.AddTool(server, &mcp.Tool{Name: "text"},
		func(ctx context.Context, req *mcp.CallToolRequest, in in) (*mcp.CallToolResult, any, error) {
			if ran != nil {
				ran.Add(1)
			}
			if in.Text == "headers" {
				return reply(fmt.Sprint(req.Extra.Header)), nil, nil
			}
			if token := req.Params.GetProgressToken(); token != nil {
				params := &mcp.ProgressNotificationParams{ProgressToken: token, Progress: 1, Message: in.Text}
				_ = req.Session.NotifyProgress(ctx, params)
			}
			return reply(in.Text + req.Extra.Header.Get(headerSubject)), nil, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "slow"},
		func(ctx context.Context, req *mcp.CallToolRequest, _ in) (*mcp.CallToolResult, any, error) {
			for step := range 2 {
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
					ProgressToken: req.Params.GetProgressToken(), Progress: float64(step + 1), Total: 9,
					Message: fmt.Sprint("step ", step+1)})
			}
			<-ctx.Done()
			if ran != nil {
				ran.Add(1)
			}
			return nil, nil, ctx.Err()
		})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, o)
}

// withoutDiscover makes a server one of MCP 2025-11-25.
func withoutDiscover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") == "2026-07-28" {
			http.Error(w, "Bad Request: unsupported protocol version", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func httpServer(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// Upstreams of both eras work by HTTP, with answers as JSON and as events; progress and cancellation cross.
func TestHTTP_Eras(t *testing.T) {
	t.Parallel()
	stateless := mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true}
	statelessJSON := stateless
	statelessJSON.JSONResponse = true
	for name, c := range map[string]struct {
		options mcp.StreamableHTTPOptions
		legacy  bool
	}{
		"modern, events":             {options: stateless},
		"modern, JSON":               {options: statelessJSON},
		"legacy, events":             {mcp.StreamableHTTPOptions{}, true},
		"legacy, JSON":               {mcp.StreamableHTTPOptions{JSONResponse: true}, true},
		"legacy without a session":   {stateless, true},
		"legacy handler, both kinds": {options: mcp.StreamableHTTPOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ran atomic.Int64
			handler := sdkServer(t, &c.options, &ran)
			era := "2026-07-28"
			if c.legacy {
				handler, era = withoutDiscover(handler), "2025-11-25"
			}
			set := open(t, Options{}, remote(httpServer(t, handler).URL))
			u := set.upstreams[0]
			s := set.Status()[0]
			if name == "legacy handler, both kinds" {
				era = s.Era // the SDK decides
			}
			if s.Era != era || s.Server != "sdk 2" || s.Transport != "http" || s.Offered != 2 {
				t.Errorf("the status is %+v", s)
			}
			for range 3 {
				if got := textOf(t, do(t, set, "text", `{"text":"hé"}`)); got != "hé" {
					t.Errorf("the text is %q", got)
				}
			}
			if name == "legacy without a session" {
				return // a cancellation has no session to which it belongs
			}
			c := callOf(u, "slow", `{"text":""}`)
			ctx, cancel := context.WithCancel(context.Background())
			var got []progress
			begun := time.AfterFunc(time.Second, cancel) // with JSON there is no progress
			c.report = func(p progress) {
				if got = append(got, p); len(got) == 2 {
					cancel()
				}
			}
			before := ran.Load()
			if _, err := u.call(ctx, c); !errors.Is(err, context.Canceled) {
				t.Errorf("the cancelled call ended with %v", err)
			}
			begun.Stop()
			if !strings.Contains(name, "JSON") && fmt.Sprint(got) != "[{1 9 step 1} {2 9 step 2}]" {
				t.Errorf("the progress is %v", got)
			}
			eventually(t, "the upstream was told", func() bool { return ran.Load() > before })
		})
	}
}

// A restarted upstream does not know the session any more: a new one is opened, once, and the call runs once.
func TestHTTP_UnknownSession(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNotFound, http.StatusBadRequest} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var ran, refused atomic.Int64
			var current atomic.Value
			restart := func() {
				current.Store(withoutDiscover(sdkServer(t, &mcp.StreamableHTTPOptions{}, &ran)))
			}
			restart()
			server := httpServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				current.Load().(http.Handler).ServeHTTP(&unknownWriter{w, status, &refused}, r)
			}))
			set := open(t, Options{}, remote(server.URL))
			restart()
			if got := textOf(t, do(t, set, "text", `{"text":"again"}`)); got != "again" {
				t.Errorf("after the restart: %s", got)
			}
			if ran.Load() != 1 || refused.Load() != 1 {
				t.Errorf("it ran %d times, %d requests were refused", ran.Load(), refused.Load())
			}
			restart()
			var calls sync.WaitGroup
			for range 20 {
				calls.Go(func() {
					if got := textOf(t, do(t, set, "text", `{"text":"all"}`)); got != "all" {
						t.Errorf("at once: %s", got)
					}
				})
			}
			calls.Wait()
			if ran.Load() != 21 {
				t.Errorf("it ran %d times", ran.Load())
			}
			if s := set.Status()[0]; s.Restarts != 2 {
				t.Errorf("the status is %+v", s)
			}
		})
	}
}

// An upstream that knows no session at all gets each call twice at most.
func TestHTTP_SessionUnknownAgain(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	handler := withoutDiscover(sdkServer(t, &mcp.StreamableHTTPOptions{}, nil))
	server := httpServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"tools/call"`) {
			calls.Add(1)
			w.WriteHeader(http.StatusNotFound)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		handler.ServeHTTP(w, r)
	}))
	set := open(t, Options{}, remote(server.URL))
	if got := do(t, set, "text", `{"text":""}`); got != refusedText || calls.Load() != 2 {
		t.Errorf("%s after %d calls", got, calls.Load())
	}
}

// unknownWriter replaces the status 404, with which the SDK refuses an unknown session.
type unknownWriter struct {
	http.ResponseWriter
	status  int
	refused *atomic.Int64
}

func (w *unknownWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *unknownWriter) WriteHeader(status int) {
	if status == http.StatusNotFound {
		w.refused.Add(1)
		status = w.status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *unknownWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// rawHTTP returns the URL of rawServerHTTP.
func rawHTTP(t testing.TB, answer func(w http.ResponseWriter, r *http.Request, id string)) string {
	t.Helper()
	return rawServerHTTP(t, answer).URL
}

// rawServerHTTP answers a tools/call as answer does, which gets the id, and everything else properly.
func rawServerHTTP(t testing.TB, answer func(http.ResponseWriter, *http.Request, string)) *httptest.Server {
	t.Helper()
	return httpServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, after, _ := strings.Cut(string(body), `"id":`)
		id, _, _ := strings.Cut(after, ",")
		w.Header().Set("Content-Type", "application/json")
		switch r.Header.Get("Mcp-Method") {
		case "server/discover":
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":["2026-07-28"]}}`, id)
		case "tools/list":
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[`+goodTool+`]}}`, id)
		default:
			answer(w, r, id)
		}
	}))
}

const refusedText = "upstream_refused: the server behind this tool refused the call; the operator has to look at it"

// Each answer that is none has its reason, and the text of it. In the bodies, ID is the id of the request.
func TestHTTP_WrongAnswers(t *testing.T) {
	t.Parallel()
	const (
		want   = `{"content":[]}`
		good   = `{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}`
		wrong  = `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
		events = "text/event-stream; charset=utf-8"
		brief  = "Content-Length: too long" // a body that breaks off
		abort  = "abort"                    // no response at all
	)
	x := func(text string) string { return strings.Repeat(text, 70<<10/len(text)) }
	for name, c := range map[string]struct {
		status           int
		kind, body, want string
	}{
		"JSON":                     {200, "", " " + good + "\n", want},
		"an event":                 {200, events, "data: " + good + "\n\n", want},
		"an event without a space": {200, events, "event:message\r\ndata:" + good + "\r\n\r\n", want},
		"an event of two lines":    {200, events, "data: {\ndata: " + good[1:] + "\n\n", want},
		"comments":                 {200, events, ": hello\n\nid: 1\nretry: 5\ndata:\n\ndata: " + good + "\n\n", want},
		"other events": {
			200, events, "event: ping\ndata: x\n\ndata: no JSON\n\ndata: " + wrong + "\n\ndata: " + good + "\n\n", want,
		},
		"a stream that ends early":   {200, events, "data: " + good + "\n", lostText},
		"a stream without an answer": {200, events, ": \n\n", lostText},
		"a long event":               {200, events, "data: " + x("x") + "\n\n", tooLargeText},
		"an endless event":           {200, events, "data: " + strings.Repeat(x("x"), 20), tooLargeText},
		"an event of many lines":     {200, events, strings.Repeat(x("data: xxxx\n"), 3) + "\n", tooLargeText},
		"a long body":                {200, "", x(" "), tooLargeText},
		"a body that breaks off":     {200, brief, good, lostText},
		"no JSON":                    {200, "", `{"jsonrpc":`, malformedText},
		"not UTF-8":                  {200, "", strings.Replace(good, "[]", "\"\xff\"", 1), malformedText},
		"another id":                 {200, "", wrong, malformedText},
		"a batch":                    {200, "", "[" + good + "]", malformedText},
		"another content type":       {200, "text/html", good, malformedText},
		"accepted":                   {202, "", "", malformedText},
		"no content":                 {204, "", "", malformedText},
		"moved":                      {301, "", "", refusedText},
		"a temporary redirect":       {307, "", "", refusedText},
		"unauthorized":               {401, "", "", refusedText},
		"forbidden":                  {403, "", good, refusedText},
		"not found, no session":      {404, "", "", refusedText},
		"too many requests":          {429, "", "", refusedText},
		"an internal error":          {500, "", "", lostText},
		"a bad gateway":              {502, "text/html", "<h1>Bad gateway</h1>", lostText},
		"a result and 500":           {500, "", good, lostText},
		"an error": {
			200, "", `{"jsonrpc":"2.0","id":ID,"error":{"code":7,"message":"no"}}`, "fault 7: no ",
		},
		"an error and 400": {
			400, "", `{"jsonrpc":"2.0","id":ID,"error":{"code":-32602,"message":"no","data":{}}}`, "fault -32602: no ",
		},
		"a connection that breaks": {200, abort, "", lostText},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := remote(rawHTTP(t, func(w http.ResponseWriter, _ *http.Request, id string) {
				body := strings.ReplaceAll(c.body, "ID", id)
				switch c.kind {
				case abort:
					panic(http.ErrAbortHandler)
				case brief:
					w.Header().Set("Content-Length", fmt.Sprint(len(body)+1))
				case "":
				default:
					w.Header().Set("Content-Type", c.kind)
				}
				w.Header().Set("Location", "http://169.254.169.254/")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, body)
			}))
			s.MaxMessageBytes = 64 << 10
			set := open(t, Options{}, s)
			if got := do(t, set, "good", `{}`); got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
			if s := set.Status()[0]; s.State != StateReady || s.Restarts != 0 {
				t.Errorf("the status is %+v", s)
			}
		})
	}
}

// Only some long bodies are read at once, and all calls get their results.
func TestHTTP_LongBodies(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 1<<20)
	s := remote(rawHTTP(t, func(w http.ResponseWriter, _ *http.Request, id string) {
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"x":"%s"}}`, id, body)
	}))
	set := open(t, Options{}, s)
	u := set.upstreams[0]
	var calls sync.WaitGroup
	for range 3 * maxLongMessages {
		calls.Go(func() {
			if got := do(t, set, "good", `{}`); len(got) != len(body)+len(`{"x":""}`) {
				t.Errorf("a call got %.100s", got)
			}
		})
	}
	calls.Wait()
	l := u.source.(*supervisor).current.link.(*httpLink)
	if len(l.endpoint.long) != 0 {
		t.Errorf("%d bodies are still being read", len(l.endpoint.long))
	}
	for range maxLongMessages {
		l.endpoint.long <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := u.call(ctx, callOf(u, "good", `{}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond the bound: %v", err)
	}
}

// An upstream of MCP 2025-11-25 may ask in the middle of a call; it gets an answer, and nothing is declared to it.
func TestHTTP_QuestionsOfTheUpstream(t *testing.T) {
	t.Parallel()
	answers := make(chan string, 2)
	server := httpServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m rawMessage
		_ = json.Unmarshal(body, &m)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case m.Method == "initialize":
			if !strings.Contains(string(m.Params), `"capabilities":{}`) {
				t.Errorf("initialize has %s", m.Params)
			}
			w.Header().Set("Mcp-Session-Id", "s1")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18"}}`, m.ID)
		case r.Header.Get("Mcp-Session-Id") != "s1" || r.Header.Get("Mcp-Protocol-Version") != "2025-06-18":
			w.WriteHeader(http.StatusNotAcceptable)
		case m.Method == "tools/list":
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[`+goodTool+`]}}`, m.ID)
		case m.Method == "tools/call":
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, `data: {"jsonrpc":"2.0","id":"p","method":"ping"}`+"\n\n"+
				`data: {"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"?"}}`+"\n\n")
			_ = http.NewResponseController(w).Flush()
			first, second := <-answers, <-answers
			fmt.Fprintf(w, "data: %s\n\n", `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+
				text(min(first, second)+"\n"+max(first, second))+`}`)
		case m.Method == "":
			answers <- string(body)
			w.WriteHeader(http.StatusAccepted)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	set := open(t, Options{}, remote(server.URL))
	const want = `{"jsonrpc":"2.0","id":"p","result":{}}` + "\n" +
		`{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"method not found"}}`
	if got := textOf(t, do(t, set, "good", `{}`)); got != want {
		t.Errorf("the answers are %s", got)
	}
}

// The request has the headers of MCP and the credential of the upstream, and none of the caller's.
func TestHTTP_Headers(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	s := remote(rawHTTP(t, func(w http.ResponseWriter, r *http.Request, id string) {
		got.Store(r.Header.Clone())
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"content":[]}}`, id)
	}))
	s.Authorization = "secret"
	url := gate(t, open(t, Options{Version: "9"}, s))
	if body := post(t, url, "", "good", ""); !strings.Contains(body, `"result"`) {
		t.Fatal(body)
	}
	header := got.Load().(http.Header)
	want := map[string]string{
		"Accept": "application/json, text/event-stream", "Content-Type": "application/json", "User-Agent": "gatehouse/9",
		"Authorization": "Bearer secret", "Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call",
		"Mcp-Name": "good", "Content-Length": header.Get("Content-Length"),
	}
	for name := range header {
		if header.Get(name) != want[name] {
			t.Errorf("%s is %q, not %q", name, header.Get(name), want[name])
		}
	}
	if len(header) != len(want) {
		t.Errorf("the headers are %v", header)
	}
}

// Nothing was sent to an upstream that is down, and it is used again when it returns. Others are not affected.
func TestHTTP_Down(t *testing.T) {
	t.Parallel()
	answer := func(w http.ResponseWriter, _ *http.Request, id string) {
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"content":[]}}`, id)
	}
	var isDown atomic.Bool
	real := newDialer(false)
	dial := real.connect
	real.connect = func(ctx context.Context, network, address string) (net.Conn, error) {
		if isDown.Load() {
			return nil, errors.New("connection refused")
		}
		return dial(ctx, network, address)
	}
	server := rawServerHTTP(t, answer)
	s, other := remote(server.URL), remote(rawHTTP(t, answer))
	other.Name, other.Prefix = "other", "other_"
	pins, err := NewPins("x", []json.RawMessage{json.RawMessage(goodTool)})
	if err != nil {
		t.Fatal(err)
	}
	s.Pinned = pins
	isDown.Store(true)
	dialers := []*dialer{real, newDialer(false)}
	set := open(t, Options{dialer: func(bool) *dialer { d := dialers[0]; dialers = dialers[1:]; return d }}, s, other)
	eventually(t, "it is down", func() bool { return set.Status()[0].State == StateDown })
	const want = `{"content":[]}`
	for _, down := range []bool{true, false, true, false} {
		if isDown.Store(down); down {
			server.CloseClientConnections()
			eventually(t, "nothing is sent", func() bool { return do(t, set, "good", `{}`) == unavailableText })
		} else {
			eventually(t, "it is back", func() bool { return do(t, set, "good", `{}`) == want })
		}
		u := set.upstreams[1]
		if got := outcome(u.call(t.Context(), callOf(u, "good", `{}`))); got != want {
			t.Errorf("the other upstream answers %s", got)
		}
	}
}

// fakeDialer resolves names as a test wants, and records where connections go. None is made outside of loopback.
type fakeDialer struct {
	mu      sync.Mutex
	answers [][]string // of one resolution after the other; the last one is repeated
	dialed  []string
}

func (f *fakeDialer) dialer(isHTTPS bool) *dialer {
	d := newDialer(isHTTPS)
	d.resolve = func(context.Context, string) ([]netip.Addr, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var addrs []netip.Addr
		for _, text := range f.answers[0] {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		if len(f.answers) > 1 {
			f.answers = f.answers[1:]
		}
		return addrs, nil
	}
	d.connect = func(_ context.Context, _, address string) (net.Conn, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.dialed = append(f.dialed, address)
		return nil, errors.New("no connection in a test")
	}
	return d
}

// No connection is made to an address that the rules forbid, whatever DNS says, and the address of the connection is
// the one that was checked.
func TestDial_Addresses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url    string
		dns    []string
		dialed []string
		err    string
	}{
		"private": {
			"http://a.test", []string{"10.0.0.1", "fd12::1"}, []string{"10.0.0.1:80", "[fd12::1]:80"}, "",
		},
		"mapped":                  {"http://a.test:81", []string{"::ffff:10.0.0.1"}, []string{"10.0.0.1:81"}, ""},
		"public by https":         {"https://a.test", []string{"192.0.2.1"}, []string{"192.0.2.1:443"}, ""},
		"public by http":          {"http://a.test", []string{"192.0.2.1"}, nil, "neither on loopback"},
		"one of them public":      {"http://a.test", []string{"10.0.0.1", "192.0.2.1"}, nil, "neither on loopback"},
		"metadata by https":       {"https://a.test", []string{"169.254.169.254"}, nil, "link-local"},
		"one of them metadata":    {"https://a.test", []string{"192.0.2.1", "169.254.169.254"}, nil, "link-local"},
		"metadata, mapped":        {"https://a.test", []string{"::ffff:169.254.169.254"}, nil, "link-local"},
		"unspecified":             {"https://a.test", []string{"0.0.0.0"}, nil, "unspecified"},
		"link-local":              {"https://a.test", []string{"fe80::1"}, nil, "link-local"},
		"no address":              {"https://a.test", nil, nil, "has no address"},
		"a metadata name":         {"https://metadata.google.internal", []string{"192.0.2.1"}, nil, "link-local"},
		"an address in the URL":   {"http://169.254.169.254", nil, nil, "link-local"},
		"loopback in the URL":     {"http://127.0.0.1:7", nil, []string{"127.0.0.1:7"}, ""},
		"a public one in the URL": {"http://192.0.2.1", nil, nil, "neither on loopback"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &fakeDialer{answers: [][]string{c.dns}}
			_, err := tryOpen(t, Options{dialer: fake.dialer}, remote(c.url))
			if !slices.Equal(fake.dialed, c.dialed) {
				t.Errorf("connections went to %v", fake.dialed)
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// A name that moves to a forbidden address between two connections is not followed there.
func TestDial_Rebinding(t *testing.T) {
	t.Parallel()
	server := rawHTTP(t, func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(server, "http://"))
	fake := &fakeDialer{answers: [][]string{{"127.0.0.1"}, {"169.254.169.254"}}}
	var log logBuffer
	set := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), dialer: func(isHTTPS bool) *dialer {
		d, real := fake.dialer(isHTTPS), newDialer(isHTTPS)
		record := d.connect
		d.connect = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "127.0.0.1:") {
				return real.connect(ctx, network, address)
			}
			return record(ctx, network, address)
		}
		return d
	}}, remote("http://a.test:"+port))
	if got := do(t, set, "good", `{}`); got != lostText { // its connection is closed
		t.Error(got)
	}
	if got := do(t, set, "good", `{}`); got != unavailableText {
		t.Error(got)
	}
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "link-local") })
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if len(fake.dialed) > 0 {
		t.Errorf("connections went to %v", fake.dialed)
	}
}

// The address of the socket itself is checked, too, with the same rule. The test forbids an address of this machine,
// so that nothing leaves it even if the check is broken.
func TestDial_Control(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	d := newDialer(true)
	d.check = func(addr netip.Addr) error {
		if addr == netip.MustParseAddr("127.0.0.1") {
			return errForbiddenAddress
		}
		return nil
	}
	if _, err := d.connect(t.Context(), "tcp", listener.Addr().String()); !errors.Is(err, errForbiddenAddress) {
		t.Errorf("the error is %v", err)
	}
	for address, want := range map[string]error{
		"169.254.169.254:80": errForbiddenAddress, "[fe80::1%lo]:80": errForbiddenAddress,
		"192.0.2.1:80": errPlainHTTP, "127.0.0.1:80": nil,
	} {
		if err := newDialer(false).control("tcp", address, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// No proxy of the environment is used.
func TestHTTP_NoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	fake := &fakeDialer{answers: [][]string{{"10.0.0.1"}}}
	_, _ = tryOpen(t, Options{dialer: fake.dialer}, remote("http://a.test"))
	if !slices.Equal(fake.dialed, []string{"10.0.0.1:80"}) {
		t.Errorf("connections went to %v", fake.dialed)
	}
}

// At the start, an upstream that is not ready gets time; one that refuses does not. Its era is not guessed meanwhile.
func TestHTTP_NotReadyAtStart(t *testing.T) {
	t.Parallel()
	for status, isReady := range map[int]bool{503: true, 502: true, 429: true, 401: false, 403: false, 404: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var requests, initialized atomic.Int64
			handler := sdkServer(t, &mcp.StreamableHTTPOptions{Stateless: true}, nil)
			server := httpServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Mcp-Method") == "" {
					initialized.Add(1)
				}
				if requests.Add(1) <= 3 {
					w.WriteHeader(status)
					return
				}
				handler.ServeHTTP(w, r)
			}))
			set, err := tryOpen(t, Options{}, remote(server.URL))
			if (err == nil) != isReady {
				t.Fatalf("after %d requests: %v", requests.Load(), err)
			}
			if !isReady {
				return
			}
			if s := set.Status()[0]; s.Era != "2026-07-28" || initialized.Load() != 0 || s.Restarts != 0 {
				t.Errorf("%+v after %d times initialize", s, initialized.Load())
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		server := httpServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
		began := time.Now()
		_, err := tryOpen(t, Options{startTimeout: 300 * time.Millisecond}, remote(server.URL))
		if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "503") || took > 10*time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}
