package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// comparison is one kind of call on two handlers: the whole chain with its access log on, and the SDK's bare handler with the same
// tool and without any authentication.
type comparison struct {
	name        string
	chain, bare side
	url, token  string
	body        string
}

type side struct {
	http.Handler
	header map[string]string
}

func comparisons(t testing.TB) []comparison {
	var all []comparison
	for _, era := range []struct {
		name, era string
		sessions  bool
		request   func(session string) (body string, header map[string]string)
	}{
		{modern, "dual", false, func(string) (string, map[string]string) { return callModern("greet", `{"name":"Ada"}`) }},
		// Without a session the older era is served by a stateless handler only.
		{legacy + " without session", "stateless", false, func(string) (string, map[string]string) { return callLegacy("greet", `{"name":"Ada"}`, "") }},
		{legacy + " in a session", "dual", true, func(session string) (string, map[string]string) {
			return callLegacy("greet", `{"name":"Ada"}`, session)
		}},
	} {
		h := startHouse(t, map[string]string{"mcp.era": era.era, "provider.token_lifetime": "1h", "log.level": "info"})
		c := comparison{name: era.name, url: h.url, token: h.token(t, "alice", "mcp:use", "greet:read")}
		c.chain, c.bare = side{Handler: h.HTTP}, side{Handler: bareHandler(t, !era.sessions)}
		for _, s := range []*side{&c.chain, &c.bare} {
			session := ""
			if era.sessions {
				session = c.handshake(t, *s)
			}
			c.body, s.header = era.request(session)
		}
		all = append(all, c)
	}
	return all
}

// post sends one message to one side.
func (c comparison) post(s side, body string) connected {
	r := httptest.NewRequest(http.MethodPost, c.url, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Authorization", "Bearer "+c.token)
	for k, v := range s.header {
		r.Header.Set(k, v)
	}
	w := connected{httptest.NewRecorder()}
	s.ServeHTTP(w, r)
	return w
}

// handshake begins a session.
func (c comparison) handshake(t testing.TB, s side) (session string) {
	w := c.post(s, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	session = w.Header().Get("Mcp-Session-Id")
	s.header = map[string]string{"Mcp-Session-Id": session}
	if w := c.post(s, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); session == "" || w.Code != http.StatusAccepted {
		t.Fatalf("no session: %d %s", w.Code, w.Body)
	}
	return session
}

// call makes the call on one of the sides.
func (c comparison) call(t testing.TB, s side) {
	if w := c.post(s, c.body); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Hello, Ada!") {
		t.Fatalf("answered %d %s", w.Code, w.Body)
	}
}

// BenchmarkCall compares in process, alternating, so that a noisy machine disturbs both alike. "x-bare" is the ratio of the
// times, "allocs-more" how many allocations the chain adds.
func BenchmarkCall(b *testing.B) {
	for _, c := range comparisons(b) {
		b.Run(c.name, func(b *testing.B) {
			c.call(b, c.bare)
			c.call(b, c.chain)
			var inBare, inChain time.Duration
			var allocsBare, allocsChain uint64
			b.ResetTimer()
			for range b.N {
				d, n := measured(func() { c.call(b, c.bare) })
				inBare, allocsBare = inBare+d, allocsBare+n
				d, n = measured(func() { c.call(b, c.chain) })
				inChain, allocsChain = inChain+d, allocsChain+n
			}
			n := float64(b.N)
			b.ReportMetric(0, "ns/op") // the sum of both would say nothing
			b.ReportMetric(float64(inBare.Nanoseconds())/n, "ns/bare")
			b.ReportMetric(float64(inChain.Nanoseconds())/n, "ns/chain")
			b.ReportMetric(float64(inChain)/float64(inBare), "x-bare")
			b.ReportMetric(float64(allocsBare)/n, "allocs/bare")
			b.ReportMetric((float64(allocsChain)-float64(allocsBare))/n, "allocs-more")
		})
	}
}

// What a call costs in allocations, which do not depend on the machine, beside the bare handler: less, because a message is read
// less often; see the exchanges of package mcptools.
func TestTheChainAddsFewAllocationsToACall(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates, too")
	}
	most := map[string]float64{modern: -130, legacy + " without session": -40, legacy + " in a session": -5}
	for _, c := range comparisons(t) {
		bound, known := most[c.name]
		if !known {
			t.Fatalf("no bound for %s", c.name)
		}
		const calls = 300
		bare := testing.AllocsPerRun(calls, func() { c.call(t, c.bare) })
		if more := testing.AllocsPerRun(calls, func() { c.call(t, c.chain) }) - bare; more > bound {
			t.Errorf("%s: %.0f allocations more than the bare handler's %.0f, at most %.0f are meant", c.name, more, bare, bound)
		}
	}
}

// BenchmarkSession opens sessions and says what an idle one holds of heap and stacks, here and on the SDK's bare handler; the
// connections that opened them are closed.
func BenchmarkSession(b *testing.B) {
	const sessions = 5_000
	h := startHouse(b, map[string]string{"mcp.max_sessions": "10000", "mcp.max_sessions_per_user": "10000", "provider.token_lifetime": "1h", "log.level": "error"})
	sdk := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	bare := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return sdk }, nil))
	defer bare.Close()
	defer func() {
		for s := range sdk.Sessions() {
			_ = s.Close()
		}
	}()
	token := h.token(b, "alice", "mcp:use")
	b.ReportMetric(0, "ns/op")
	for unit, r := range map[string]*running{"B/session": h, "B/bare-session": {url: bare.URL}} {
		r.openSession(b, token)
		before := held()
		for range sessions {
			r.openSession(b, token)
		}
		b.ReportMetric(float64(held()-before)/sessions, unit)
	}
	if n := h.MCP.Sessions(); n != sessions+1 {
		b.Fatalf("%d sessions are open", n)
	}
}

// held is what heap and stacks hold after a collection, in bytes.
func held() int64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// connected is a recorder with the deadlines that a connection has. Without them each would cost an error.
type connected struct{ *httptest.ResponseRecorder }

func (connected) SetReadDeadline(time.Time) error  { return nil }
func (connected) SetWriteDeadline(time.Time) error { return nil }

func measured(f func()) (time.Duration, uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	f()
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	return took, after.Mallocs - before.Mallocs
}

// bareHandler is the SDK as its documentation shows it, with one tool.
func bareHandler(t testing.TB, stateless bool) http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "greet"}, func(_ context.Context, _ *mcp.CallToolRequest, in struct {
		Name string `json:"name"`
	}) (*mcp.CallToolResult, struct {
		Greeting string `json:"greeting"`
	}, error) {
		greeting := fmt.Sprintf("Hello, %s!", strings.TrimSpace(in.Name))
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: greeting}}}, struct {
			Greeting string `json:"greeting"`
		}{greeting}, nil
	})
	t.Cleanup(func() {
		for s := range server.Sessions() {
			_ = s.Close()
		}
	})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: stateless})
}
