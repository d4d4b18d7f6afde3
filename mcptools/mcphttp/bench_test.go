package mcphttp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// BenchmarkList lists many tools, in comparison with the SDK's bare handler and the same tools. "x-bare" is the
// ratio of the
// times.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%d tools", n), func(b *testing.B) {
			ours, bare := listers(n)
			var inOurs, inBare time.Duration
			b.ResetTimer()
			for range b.N {
				inOurs += list(b, ours, n)
				inBare += list(b, bare, n)
			}
			b.ReportMetric(0, "ns/op") // the sum of both has no meaning
			b.ReportMetric(float64(inOurs)/float64(inBare), "x-bare")
			b.ReportMetric(float64(inOurs.Nanoseconds())/float64(b.N), "ns/ours")
		})
	}
}

func listers(n int) (ours, bare http.Handler) {
	var catalog mcptools.Catalog
	server := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	for i := range n {
		name := fmt.Sprintf("tool_%d", i)
		handler := func(context.Context, *mcp.CallToolRequest, greetInput) (*mcp.CallToolResult, greetOutput, error) {
			return nil, greetOutput{}, nil
		}
		catalog.Tools = append(
			catalog.Tools,
			mcptools.Define(
				mcptools.Definition{Name: name, Description: "One of many.", Scopes: []string{"greet:read"}}, handler,
			),
		)
		no := false
		mcp.AddTool(
			server,
			&mcp.Tool{
				Name:        name,
				Description: "One of many.",
				Annotations: &mcp.ToolAnnotations{DestructiveHint: &no, OpenWorldHint: &no},
			},
			handler,
		)
	}
	h := NewHandler(Config{
		Policy: Policy{Settings: DefaultSettings()}, Info: mcp.Implementation{Name: "many", Version: "1"},
		Logger: slog.New(slog.DiscardHandler),
	}, catalog)
	ours = authenticated(alice("greet:read"), routed(h))
	return ours, mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true},
	)
}

func list(b *testing.B, h http.Handler, n int) time.Duration {
	r := httptest.NewRequest(http.MethodPost, "http://localhost/mcp", strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"tools/list",`+
			`"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
			`"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},`+
			`"io.modelcontextprotocol/clientCapabilities":{}}}}`,
	))
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer x",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list",
	} {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	begin := time.Now()
	h.ServeHTTP(w, r)
	took := time.Since(begin)
	if last := fmt.Sprintf("tool_%d\"", n-1); w.Code != http.StatusOK ||
		!strings.Contains(w.Body.String(), last) {
		b.Fatalf("answered %d %.300s", w.Code, w.Body)
	}
	return took
}
