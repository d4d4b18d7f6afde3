package mcphttp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

const testReason providers.Reason = "test_denied"

// denyTokens is a [Denier] that denies tokens by their id.
type denyTokens struct{ ids sync.Map }

func (d *denyTokens) Check(id *providers.Identity) (providers.Reason, bool) {
	if _, denied := d.ids.Load(id.TokenID); denied {
		return testReason, true
	}
	return "", false
}

// deny denies a token, and ends what it has open.
func (d *denyTokens) deny(h *Handler, id string) (ended int) {
	d.ids.Store(id, true)
	return h.End(d.Check)
}

// asToken is the header by which a test chooses the token of a request. Without it, the token is t-1 of
// alice; those that begin with "bob" are of bob.
const asToken = "X-Token"

// serveTokens is serve with several callers, whose requests have passed the check of package server.
func serveTokens(t *testing.T, h *Handler) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := alice()
		if id.TokenID = r.Header.Get(asToken); id.TokenID == "" {
			id.TokenID = "t-1"
		}
		if strings.HasPrefix(id.TokenID, "bob") {
			id.Subject = "bob"
		}
		next := routed(h)
		authenticated(id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), writerKey{}, w)))
		})).ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		h.CloseStreams()
		server.Close()
		h.CloseSessions()
	})
	return server.URL
}

// stubbornTool is a tool that ignores its context until goOn is closed.
func stubbornTool(begun chan<- struct{}, goOn <-chan struct{}) mcptools.Tool {
	return newTool("stubborn", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		begun <- struct{}{}
		<-goOn
		return text("too late"), nil
	})
}

// answer is the response to a request, or the error of sending it.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// send sends a request, which must be answered within 10 seconds.
func send(url string, p testPost) <-chan answer {
	answered := make(chan answer, 1)
	go func() {
		client := bearerClient()
		client.Timeout = 10 * time.Second
		resp, err := client.Do(p.to(url))
		if err != nil {
			answered <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		answered <- answer{resp.StatusCode, resp.Header, strings.ReplaceAll(string(text), ": keepalive\n\n", ""), err}
	}()
	return answered
}

// checkEndedCall expects the response to a call that was ended.
func checkEndedCall(t *testing.T, got answer, id string) {
	t.Helper()
	body := got.body
	if _, event, isEvent := strings.Cut(body, "data: "); isEvent {
		body = event
	}
	var response struct {
		ID    json.RawMessage
		Error struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal([]byte(body), &response); err != nil || got.err != nil || got.status != http.StatusOK ||
		string(response.ID) != id || response.Error.Code != codeInternalError ||
		response.Error.Message != "ended by the operator" {
		t.Errorf("the response is %+v", got)
	}
}

// idOf returns the id of a message.
func idOf(t *testing.T, p testPost) string {
	t.Helper()
	var m struct{ ID json.RawMessage }
	if err := json.Unmarshal([]byte(p.body), &m); err != nil {
		t.Fatal(err)
	}
	return string(m.ID)
}

// The client of a call is answered at once, on each of the ways that a call can take, even if the tool
// ignores its context and the response has begun with a comment. The reason is recorded. Calls of others
// continue.
func TestEnd_AnswersCallsAtOnce(t *testing.T) {
	for _, keepalive := range []time.Duration{0, often} {
		for name, way := range ways(t, "stubborn") {
			t.Run(fmt.Sprintf("%s, keepalive %v", name, keepalive), func(t *testing.T) {
				begun, goOn := make(chan struct{}, 2), make(chan struct{})
				denier, results := &denyTokens{}, &resultRecorder{}
				h := handlerOf(
					mcptools.Catalog{Tools: []mcptools.Tool{stubbornTool(begun, goOn)}}, withKeepalive(keepalive),
					func(cfg *Config) { cfg.Settings.Era, cfg.Denier, cfg.Recorder = way.era, denier, results },
				)
				url := serveTokens(t, h)
				call := way.call(url)
				goOnce := sync.OnceFunc(func() { close(goOn) })
				t.Cleanup(goOnce)
				hers := send(url, call)
				<-begun
				other := call.with(asToken, "bob")
				if other.header[sessionHeader] != "" {
					other = other.with(sessionHeader, openSessionAs(t, url, "bob"))
				}
				his := send(url, other)
				<-begun
				time.Sleep(3 * keepalive)
				want := 1
				if call.header[sessionHeader] != "" {
					want = 2 // and the session
				}
				if n := denier.deny(h, "t-1"); n != want {
					t.Errorf("%d ended, want %d", n, want)
				}
				checkEndedCall(t, <-hers, idOf(t, call))
				if r := results.await(t); r.Outcome != OutcomeCanceled || r.Reason != testReason {
					t.Errorf("recorded is %+v", r)
				}
				if n := h.End(denier.Check); n != 0 {
					t.Errorf("%d are ended twice", n)
				}
				goOnce()
				if got := <-his; !strings.Contains(got.body, "too late") {
					t.Errorf("the call of another caller is answered %+v", got)
				}
			})
		}
	}
}

// openSessionAs is openSession with a token.
func openSessionAs(t *testing.T, url, token string) string {
	t.Helper()
	resp := request(t, http.MethodPost, url, initializeMessage, map[string]string{asToken: token})
	_, _ = io.Copy(io.Discard, resp.Body)
	id := resp.Header.Get(sessionHeader)
	if id == "" {
		t.Fatalf("initialize answered %d", resp.StatusCode)
	}
	return id
}

const initializeMessage = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
	`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// resultRecorder keeps the results of requests that have one.
type resultRecorder struct {
	discard
	mu  sync.Mutex
	all map[context.Context]Result
}

func (r *resultRecorder) RecordResult(ctx context.Context, result Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[context.Context]Result{}
	}
	merged := r.all[ctx] // empty values change nothing
	if result.Outcome != "" {
		merged.Outcome = result.Outcome
	}
	if result.Reason != "" {
		merged.Reason = result.Reason
	}
	r.all[ctx] = merged
}

// await returns the first result with a reason.
func (r *resultRecorder) await(t *testing.T) Result {
	t.Helper()
	for range 1000 {
		r.mu.Lock()
		for _, result := range r.all {
			if result.Reason != "" {
				r.mu.Unlock()
				return result
			}
		}
		r.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatal("no result was recorded")
	return Result{}
}

// A tool that obeys its context ends, in both eras.
func TestEnd_CancelsCalls(t *testing.T) {
	for name, way := range ways(t, "wait") {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}, 1), make(chan error, 1)
			denier := &denyTokens{}
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}}, func(cfg *Config) {
				cfg.Settings.Era, cfg.Denier = way.era, denier
			})
			url := serveTokens(t, h)
			call := way.call(url)
			answered := send(url, call)
			<-begun
			denier.deny(h, "t-1")
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Error("the call continues")
			}
			checkEndedCall(t, <-answered, idOf(t, call))
			awaitNone(t, h)
		})
	}
}

// awaitNone waits until nothing that End could end is left.
func awaitNone(t *testing.T, h *Handler) {
	t.Helper()
	for range 1000 {
		h.open.mu.Lock()
		left := len(h.open.all)
		h.open.mu.Unlock()
		if left += h.Sessions(); left == 0 {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatal("calls, streams or sessions are left")
}

// An open stream ends, in both eras, and so does its session. Those of others stay.
func TestEnd_EndsStreams(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, url, token string) *http.Response{
		"2026-07-28": func(t *testing.T, url, token string) *http.Response {
			return request(t, http.MethodPost, url, modern("subscriptions/listen",
				`"notifications":{"toolsListChanged":true}`).body, map[string]string{
				versionHeader: modernVersion, methodHeader: "subscriptions/listen", asToken: token})
		},
		"in a session": func(t *testing.T, url, token string) *http.Response {
			return request(t, http.MethodGet, url, "", map[string]string{
				sessionHeader: openSessionAs(t, url, token), asToken: token})
		},
	} {
		t.Run(name, func(t *testing.T) {
			denier, results := &denyTokens{}, &resultRecorder{}
			h := handlerOf(changingCatalog(), func(cfg *Config) { cfg.Denier, cfg.Recorder = denier, results })
			url := serveTokens(t, h)
			his, hers := open(t, url, "bob"), open(t, url, "t-1")
			if his.StatusCode != http.StatusOK || hers.StatusCode != http.StatusOK {
				t.Fatalf("the streams answered %d and %d", his.StatusCode, hers.StatusCode)
			}
			// The response starts after the stream is registered.
			for _, stream := range []*http.Response{his, hers} {
				if _, err := stream.Body.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
			denier.deny(h, "t-1")
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(io.Discard, hers.Body)
			}()
			select {
			case <-done:
			case <-time.After(5 * time.Second):
				t.Error("the stream stays open")
			}
			if r := results.await(t); r.Reason != testReason {
				t.Errorf("recorded is %+v", r)
			}
			other := make(chan struct{})
			go func() {
				defer close(other)
				_, _ = io.Copy(io.Discard, his.Body)
			}()
			select {
			case <-other:
				t.Error("the stream of another caller ended")
			case <-time.After(50 * time.Millisecond):
			}
		})
	}
}

// A session ends if the latest request in it came with a denied token, and stays if another token of the same
// caller used it since.
func TestEnd_EndsSessionsByTheirLatestToken(t *testing.T) {
	denier := &denyTokens{}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{whoami()}}, func(cfg *Config) { cfg.Denier = denier })
	url := serveTokens(t, h)
	ping := func(session, token string) int {
		resp := request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
			map[string]string{sessionHeader: session, asToken: token})
		return resp.StatusCode
	}
	idle, renewed, his := openSessionAs(t, url, "t-1"), openSessionAs(t, url, "t-1"), openSessionAs(t, url, "bob")
	if status := ping(renewed, "t-2"); status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	if n := denier.deny(h, "t-1"); n != 1 {
		t.Errorf("%d ended, want 1", n)
	}
	for _, c := range []struct {
		session, token string
		status         int
	}{{idle, "t-2", 404}, {renewed, "t-2", 200}, {his, "bob", 200}} {
		if status := ping(c.session, c.token); status != c.status {
			t.Errorf("%s: answered %d, want %d", c.token, status, c.status)
		}
	}
}

// A call in flight with a denied token ends its session too: its holder has the session ID.
func TestEnd_EndsASessionWithACallOfADeniedToken(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	denier := &denyTokens{}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}}, func(cfg *Config) {
		cfg.Denier = denier
	})
	url := serveTokens(t, h)
	in := map[string]string{sessionHeader: openSessionAs(t, url, "t-1")}
	answered := send(url, legacy("tools/call", `"name":"wait"`).with(sessionHeader, in[sessionHeader]))
	<-begun
	in[asToken] = "t-2"
	request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, in)
	if n := denier.deny(h, "t-1"); n != 2 {
		t.Errorf("%d ended, want 2", n)
	}
	checkEndedCall(t, <-answered, "7")
	awaitNone(t, h)
}

// So does the standalone stream of a denied token: what is sent on it reaches its holder.
func TestEnd_EndsASessionWithAStreamOfADeniedToken(t *testing.T) {
	denier := &denyTokens{}
	h := handlerOf(changingCatalog(), func(cfg *Config) { cfg.Denier = denier })
	url := serveTokens(t, h)
	in := map[string]string{sessionHeader: openSessionAs(t, url, "t-1")}
	stream := request(t, http.MethodGet, url, "", in)
	if _, err := stream.Body.Read(make([]byte, 1)); err != nil { // it is registered
		t.Fatal(err)
	}
	in[asToken] = "t-2"
	request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, in)
	if n := denier.deny(h, "t-1"); n != 2 {
		t.Errorf("%d ended, want the session and the stream", n)
	}
	awaitNone(t, h)
}

// A caller that is denied after its request was let in gets no call, no stream and no session.
func TestDenier_IsAskedWhenTheRequestIsRegistered(t *testing.T) {
	for name, way := range ways(t, "count") {
		t.Run(name, func(t *testing.T) {
			var ran atomic.Int64
			count := newTool("count", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				ran.Add(1)
				return text("done"), nil
			})
			denier := &denyTokens{}
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{count}}, func(cfg *Config) {
				cfg.Settings.Era, cfg.Denier = way.era, denier
			})
			url := serveTokens(t, h)
			call := way.call(url)
			denier.ids.Store("t-1", true)
			got := <-send(url, call)
			checkEndedCall(t, got, idOf(t, call))
			if got.header.Get(reasonHeader) != string(testReason) {
				t.Errorf("the reason is in none of %v", got.header)
			}
			awaitNone(t, h)
			if ran.Load() > 0 {
				t.Error("the tool ran")
			}
		})
	}
	denier := &denyTokens{}
	h := handlerOf(changingCatalog(), func(cfg *Config) { cfg.Denier = denier })
	url := serveTokens(t, h)
	session := func() map[string]string { return map[string]string{sessionHeader: openSession(t, url)} }
	for name, c := range map[string]struct {
		method, body string
		header       map[string]string
		status       int
	}{
		"a stream of 2026-07-28": {
			http.MethodPost, modern("subscriptions/listen", `"notifications":{"toolsListChanged":true}`).body,
			map[string]string{versionHeader: modernVersion, methodHeader: "subscriptions/listen"}, 403,
		},
		"a stream of a session": {http.MethodGet, "", session(), 200}, // which ends at once
		"a notification":        {http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, session(), 404},
		"a new session":         {http.MethodPost, initializeMessage, nil, 200}, // with an error
	} {
		denier.ids.Store("t-1", true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		resp, err := bearerClient().Do(testPost{c.body, c.header}.by(c.method, url).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		cancel()
		resp.Body.Close()
		if resp.StatusCode != c.status || err != nil || resp.Header.Get(sessionHeader) != "" ||
			strings.Contains(string(text), `"result"`) {
			t.Errorf("%s: %d %v %s %v", name, resp.StatusCode, resp.Header, text, err)
		}
		denier.ids.Delete("t-1")
	}
	awaitNone(t, h)
}

// No call, stream or session survives, however its beginning and the denial interleave.
func TestEnd_MissesNothingThatBegins(t *testing.T) {
	const rounds = 20
	for name, way := range ways(t, "wait") {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}, 1000), make(chan error, 1000)
			denier := &denyTokens{}
			h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}}, func(cfg *Config) {
				cfg.Settings.Era, cfg.Denier = way.era, denier
			})
			url := serveTokens(t, h)
			for round := range rounds {
				token := fmt.Sprintf("t-%d", round+100)
				call := way.call(url).with(asToken, token)
				var calls []<-chan answer
				for n := range 3 {
					calls = append(calls, send(url,
						call.replaced(`"id":`+idOf(t, call), fmt.Sprintf(`"id":%s%d`, idOf(t, call), n+1))))
				}
				time.Sleep(time.Duration(round) * 200 * time.Microsecond)
				denier.deny(h, token)
				for _, call := range calls {
					if got := <-call; got.err != nil {
						t.Fatal(got.err)
					}
				}
			}
			h.End(func(*providers.Identity) (providers.Reason, bool) { return testReason, true }) // unused sessions
			awaitNone(t, h)
		})
	}
}

// The end of a call whose client hung up is recorded with the reason.
func TestEnd_CallWithoutItsClient(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	recorder := detaching{detached: make(chan struct{}, 1), ends: make(chan Result, 1)}
	denier := &denyTokens{}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}}, func(cfg *Config) {
		cfg.Denier, cfg.Recorder = denier, recorder
	})
	url := serveTokens(t, h)
	call := legacy("tools/call", `"name":"wait"`).with(sessionHeader, openSession(t, url))
	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		if resp, err := bearerClient().Do(call.to(url).WithContext(ctx)); err == nil {
			resp.Body.Close()
		}
	}()
	<-begun
	hangUp()
	<-recorder.detached
	denier.deny(h, "t-1")
	<-ended
	if r := <-recorder.ends; r.Outcome != OutcomeCanceled || r.Reason != testReason {
		t.Errorf("recorded is %+v", r)
	}
}

// What a session keeps of its latest caller does not keep the token in memory.
func TestEnd_SessionDoesNotRetainTheIdentity(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{whoami()}}, func(cfg *Config) { cfg.Denier = &denyTokens{} })
	t.Cleanup(h.CloseSessions)
	var caller weak.Pointer[providers.Identity]
	func() {
		id := alice()
		caller = weak.Make(id)
		w := httptest.NewRecorder()
		authenticated(id, routed(h)).ServeHTTP(w, testPost{body: initializeMessage}.request())
		if w.Header().Get(sessionHeader) == "" {
			t.Fatalf("no session: %s", w.Body)
		}
		ping := testPost{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, nil}.with(sessionHeader, w.Header().Get(sessionHeader))
		authenticated(id, routed(h)).ServeHTTP(httptest.NewRecorder(), ping.request())
	}()
	for range 100 {
		runtime.GC()
		if caller.Value() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the session keeps the identity and with it the token")
}

// Without a Denier nothing is kept, and nothing ends.
func TestEnd_WithoutADenier(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{whoami()}})
	url := serveTokens(t, h)
	openSession(t, url)
	n := h.End(func(*providers.Identity) (providers.Reason, bool) { return testReason, true })
	if n != 0 || h.Sessions() != 1 {
		t.Errorf("%d ended, %d sessions are left", n, h.Sessions())
	}
	if s := h.sessions.all()[0]; s.latest != nil || h.open != nil {
		t.Error("a caller is kept")
	}
}
