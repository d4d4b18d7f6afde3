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

// comparison is one kind of call on two handlers: the complete chain with its access log, and the SDK's bare handler
// with the same tool and without authentication.
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
	const arguments = `{"name":"Ada"}`
	var all []comparison
	for _, c := range []struct {
		name, era string
		sessions  bool
		request   func(session string) (body string, header map[string]string)
	}{
		{modern, "dual", false, func(string) (string, map[string]string) { return callModern("greet", arguments) }},
		// Only a stateless handler serves the older era without a session.
		{legacy + " without session", "stateless", false, func(string) (string, map[string]string) {
			return callLegacy("greet", arguments, "")
		}},
		{legacy + " in a session", "dual", true, func(session string) (string, map[string]string) {
			return callLegacy("greet", arguments, session)
		}},
	} {
		srv := startServer(t, map[string]string{
			"mcp.era": c.era, "provider.token_lifetime": "1h", "log.level": "info",
		})
		one := comparison{name: c.name, url: srv.url, token: srv.token(t, "alice", "mcp:use", "greet:read")}
		one.chain, one.bare = side{Handler: srv.HTTP}, side{Handler: bareHandler(t, !c.sessions)}
		for _, s := range []*side{&one.chain, &one.bare} {
			session := ""
			if c.sessions {
				session = one.openSession(t, *s)
			}
			one.body, s.header = c.request(session)
		}
		all = append(all, one)
	}
	return all
}

// post sends one message to one side.
func (c comparison) post(s side, body string) deadlineRecorder {
	r := httptest.NewRequest(http.MethodPost, c.url, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Authorization", "Bearer "+c.token)
	for k, v := range s.header {
		r.Header.Set(k, v)
	}
	w := deadlineRecorder{httptest.NewRecorder()}
	s.ServeHTTP(w, r)
	return w
}

// openSession performs the handshake of 2025-11-25 and returns the session ID.
func (c comparison) openSession(t testing.TB, s side) (session string) {
	session = c.post(s, initializeBody).Header().Get("Mcp-Session-Id")
	s.header = map[string]string{"Mcp-Session-Id": session}
	if w := c.post(s, initializedBody); session == "" || w.Code != http.StatusAccepted {
		t.Fatalf("no session: %d %s", w.Code, w.Body)
	}
	return session
}

// call makes the call on one of the sides.
func (c comparison) call(t testing.TB, s side) {
	if w := c.post(s, c.body); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Hello, Ada!") {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
}

// BenchmarkCall alternates between the two handlers in one process, so that load on the machine affects both equally.
// "x-bare" is the ratio of the times, and "allocs-more" the number of allocations that the chain adds.
func BenchmarkCall(b *testing.B) {
	for _, c := range comparisons(b) {
		b.Run(c.name, func(b *testing.B) {
			c.call(b, c.bare)
			c.call(b, c.chain)
			var inBare, inChain time.Duration
			var allocsBare, allocsChain uint64
			b.ResetTimer()
			for range b.N {
				d, n := measure(func() { c.call(b, c.bare) })
				inBare, allocsBare = inBare+d, allocsBare+n
				d, n = measure(func() { c.call(b, c.chain) })
				inChain, allocsChain = inChain+d, allocsChain+n
			}
			n := float64(b.N)
			b.ReportMetric(0, "ns/op") // the sum of both is meaningless
			b.ReportMetric(float64(inBare.Nanoseconds())/n, "ns/bare")
			b.ReportMetric(float64(inChain.Nanoseconds())/n, "ns/chain")
			b.ReportMetric(float64(inChain)/float64(inBare), "x-bare")
			b.ReportMetric(float64(allocsBare)/n, "allocs/bare")
			b.ReportMetric((float64(allocsChain)-float64(allocsBare))/n, "allocs-more")
		})
	}
}

// Allocations do not depend on the machine. The chain needs fewer than the bare handler, because it parses a message
// less often.
func TestChain_AllocatesLessThanBareHandler(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates too")
	}
	limits := map[string]float64{modern: -145, legacy + " without session": -45, legacy + " in a session": -9}
	for _, c := range comparisons(t) {
		limit, known := limits[c.name]
		if !known {
			t.Fatalf("no limit for %s", c.name)
		}
		const calls = 300
		bare := testing.AllocsPerRun(calls, func() { c.call(t, c.bare) })
		if more := testing.AllocsPerRun(calls, func() { c.call(t, c.chain) }) - bare; more > limit {
			t.Errorf("%s: %.0f allocations more than the bare handler's %.0f, the limit is %.0f", c.name, more, bare, limit)
		}
	}
}

// BenchmarkSession reports the heap and stack size of an idle session, here and on the SDK's bare handler. The
// connections that opened the sessions are closed.
func BenchmarkSession(b *testing.B) {
	const sessions = 5_000
	srv := startServer(b, map[string]string{
		"mcp.max_sessions": "10000", "mcp.max_sessions_per_user": "10000", "provider.token_lifetime": "1h",
		"log.level": "error",
	})
	sdk := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	bare := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return sdk }, nil))
	defer bare.Close()
	defer func() {
		for s := range sdk.Sessions() {
			_ = s.Close()
		}
	}()
	token := srv.token(b, "alice", "mcp:use")
	b.ReportMetric(0, "ns/op")
	for unit, s := range map[string]*testServer{"B/session": srv, "B/bare-session": {url: bare.URL}} {
		s.openSession(b, token)
		before := memoryInUse()
		for range sessions {
			s.openSession(b, token)
		}
		b.ReportMetric(float64(memoryInUse()-before)/sessions, unit)
	}
	if n := srv.MCP.Sessions(); n != sessions+1 {
		b.Fatalf("%d sessions are open", n)
	}
}

// memoryInUse returns the size of heap and stacks after a garbage collection, in bytes.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC() // frees what finalizers kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// deadlineRecorder is a recorder that accepts deadlines, as a connection does. Each refusal would allocate an error.
type deadlineRecorder struct{ *httptest.ResponseRecorder }

func (deadlineRecorder) SetReadDeadline(time.Time) error  { return nil }
func (deadlineRecorder) SetWriteDeadline(time.Time) error { return nil }

func measure(f func()) (time.Duration, uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	f()
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	return took, after.Mallocs - before.Mallocs
}

// bareHandler is the SDK's handler as its documentation shows it, with one tool.
func bareHandler(t testing.TB, stateless bool) http.Handler {
	type input struct {
		Name string `json:"name"`
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	greet := func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, greetOutput, error) {
		out := greetOutput{Greeting: fmt.Sprintf("Hello, %s!", strings.TrimSpace(in.Name))}
		return textResult("%s", out.Greeting), out, nil
	}
	mcp.AddTool(server, &mcp.Tool{Name: "greet"}, greet)
	t.Cleanup(func() {
		for s := range server.Sessions() {
			_ = s.Close()
		}
	})
	options := &mcp.StreamableHTTPOptions{Stateless: stateless}
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options)
}
