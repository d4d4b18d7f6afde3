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

// BenchmarkCall runs a tool call through the whole chain, access log on, beside the same call on the SDK's bare handler
// without any authentication: in process, alternating, so that a noisy machine disturbs both alike. "x-bare" is the ratio
// of the times, "allocs-more" how many allocations the chain adds.
func BenchmarkCall(b *testing.B) {
	bare := bareHandler()
	for _, era := range []struct {
		name, era string
		request   func(name, arguments string) (string, map[string]string)
	}{
		{modern, "dual", callModern},
		// Without a session the older era is served by a stateless handler only.
		{legacy + " without session", "stateless", func(n, a string) (string, map[string]string) { return callLegacy(n, a, "") }},
	} {
		b.Run(era.name, func(b *testing.B) {
			h := startHouse(b, map[string]string{"mcp.era": era.era, "provider.token_lifetime": "1h", "log.level": "info"})
			token := h.token(b, "alice", "mcp:use", "greet:read")
			body, header := era.request("greet", `{"name":"Ada"}`)
			one := func(handler http.Handler) {
				r := httptest.NewRequest(http.MethodPost, h.url, strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Accept", "application/json, text/event-stream")
				r.Header.Set("Authorization", "Bearer "+token)
				for k, v := range header {
					r.Header.Set(k, v)
				}
				w := connected{httptest.NewRecorder()}
				handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Hello, Ada!") {
					b.Fatalf("answered %d %s", w.Code, w.Body)
				}
			}
			one(bare)
			one(h.HTTP)
			var inBare, inChain time.Duration
			var allocsBare, allocsChain uint64
			b.ResetTimer()
			for range b.N {
				d, n := measured(func() { one(bare) })
				inBare, allocsBare = inBare+d, allocsBare+n
				d, n = measured(func() { one(h.HTTP) })
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
func bareHandler() http.Handler {
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
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})
}
