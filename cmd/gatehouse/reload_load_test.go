package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/configs"
	"gatehouse/providers/providertest"
)

// Calls during reloads each 5 ms, with open streams, on each path through the MCP endpoint: none is lost, and none is
// judged by two configurations. Each configuration allows a token with one of two scopes, because it implies the one
// that is required by the other one; with the implications of one and the requirement of the other, one of the two
// tokens would be refused. A third token is allowed by one configuration only, which shows that both judge.
func TestReload_UnderLoadLosesAndMixesNothing(t *testing.T) {
	t.Parallel()
	const workers = 8
	pairs := int64(750) // of calls
	if os.Getenv("GATEHOUSE_LONG") != "" {
		pairs = 50_000
	}
	authority := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	a := map[string]string{"scopes.required": "mcp:a", "scopes.initial": "", "scopes.implies": "mcp:b > mcp:a"}
	b := map[string]string{
		"scopes.required": "mcp:b", "scopes.initial": "", "scopes.implies": "mcp:a > mcp:b,mcp:c > mcp:b",
	}
	settings := oidcSettings(authority, a)
	settings["log.level"], settings["server.max_connections_per_address"] = "warn", "2000"
	srv := startServer(t, settings)
	waitUntilReady(t, srv.origin())
	configurations := []*configs.Config{srv.loaded(t, b), srv.loaded(t, a)}

	tokens := map[string]string{}
	for _, scope := range []string{"mcp:a", "mcp:b", "mcp:c"} {
		tokens[scope] = authority.Token(srv.url, map[string]any{"scope": scope + " greet:read"})
	}
	var streams sync.WaitGroup
	streamEnds := make(chan struct{}, workers)
	sessions := map[string]string{}
	for _, scope := range []string{"mcp:a", "mcp:b"} {
		sessions[scope] = srv.openSession(t, tokens[scope])
		stream := srv.openStream(t, tokens[scope], sessions[scope])
		if stream.StatusCode != http.StatusOK {
			t.Fatalf("the stream returned %d", stream.StatusCode)
		}
		streams.Go(func() {
			_, _ = io.Copy(io.Discard, bufio.NewReader(stream.Body))
			streamEnds <- struct{}{}
		})
	}

	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	call := func(scope string, n int64) (status int, body string, err error) {
		text, header := callModern("greet", `{"name":"Ada"}`)
		switch n % 3 {
		case 1: // by the SDK's own handler
			text = strings.Replace(text, `"id":7`, `"id":-7`, 1)
		case 2:
			text, header = callLegacy("greet", `{"name":"Ada"}`, sessions[scope])
			text = strings.Replace(text, `"id":1`, fmt.Sprintf(`"id":%d`, n), 1)
		}
		req, err := http.NewRequest(http.MethodPost, srv.url, strings.NewReader(text))
		if err != nil {
			return 0, "", err
		}
		header["Authorization"], header["Content-Type"] = "Bearer "+tokens[scope], "application/json"
		header["Accept"] = "application/json, text/event-stream"
		for name, value := range header {
			req.Header.Set(name, value)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		content, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(content), err
	}

	var next, lost, allowed, refused atomic.Int64
	var calls sync.WaitGroup
	for range workers {
		calls.Go(func() {
			for n := next.Add(1); n <= pairs; n = next.Add(1) {
				scope := []string{"mcp:a", "mcp:b"}[n%2]
				status, body, err := call(scope, n)
				if err != nil || status != http.StatusOK || !strings.Contains(body, "Hello, Ada!") {
					if lost.Add(1) < 5 {
						t.Errorf("call %d with %s: %d %s, %v", n, scope, status, body, err)
					}
				}
				switch status, _, err := call("mcp:c", 0); {
				case err == nil && status == http.StatusOK:
					allowed.Add(1)
				case err == nil && status == http.StatusForbidden:
					refused.Add(1)
				default:
					t.Errorf("call %d with mcp:c: %d, %v", n, status, err)
				}
			}
		})
	}
	done, swaps := make(chan struct{}), 0
	go func() { calls.Wait(); close(done) }()
	for running := true; running; swaps++ {
		if _, err := srv.Reload(t.Context(), configurations[swaps%2]); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			running = false
		case <-time.After(5 * time.Millisecond):
		}
	}
	report := fmt.Sprintf("%d calls during %d reloads: %d lost or mixed; those of the third token: %d allowed, %d refused",
		2*pairs, swaps, lost.Load(), allowed.Load(), refused.Load())
	t.Log(report)
	if lost.Load() > 0 || allowed.Load() == 0 || refused.Load() == 0 || swaps < 10 {
		t.Error(report)
	}
	if strings.Contains(srv.log.String(), "got past the HTTP layer") {
		t.Error("the middleware refused a call that the HTTP layer had allowed")
	}
	if len(streamEnds) > 0 || srv.MCP.Sessions() != len(sessions) {
		t.Errorf("%d streams have ended, and %d sessions are open", len(streamEnds), srv.MCP.Sessions())
	}
	srv.stop()
	streams.Wait()
}
