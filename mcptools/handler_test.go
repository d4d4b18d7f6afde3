package mcptools

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"gatehouse/providers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve puts a handler on a real listener behind the SDK's injector, as package server does, with everybody signed in as
// alice with these scopes.
func serve(t *testing.T, h *Handler, expiry time.Time, scopes ...string) string {
	t.Helper()
	id := &providers.Identity{Issuer: "http://issuer", Subject: "alice", Scopes: scopes, Expiry: expiry}
	inject := auth.RequireBearerToken(func(context.Context, string, *http.Request) (*auth.TokenInfo, error) { return id.TokenInfo(), nil },
		&auth.RequireBearerTokenOptions{ClockSkew: 24 * time.Hour})
	server := httptest.NewServer(inject(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		_, handler := h.Route(r)
		handler.ServeHTTP(w, r)
	})))
	t.Cleanup(func() {
		h.CloseStreams()
		server.Close()
		h.CloseSessions()
	})
	return server.URL
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

func session(t *testing.T, url, protocol string) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	s, err := client.Connect(context.Background(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: bearerClient()}, &mcp.ClientSessionOptions{ProtocolVersion: protocol})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// handlerOf serves a catalog with the default settings, changed by each of change.
func handlerOf(c Catalog, change ...func(*Options)) *Handler {
	o := Options{Settings: DefaultSettings(), Info: mcp.Implementation{Name: "test", Version: "1"}, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	return NewHandler(o, c)
}

func TestAPanickingToolDoesNotEndTheProcess(t *testing.T) {
	trap := Define(Definition{Name: "trap", Description: "panics"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, struct{}, error) {
		panic("the secret is 42")
	})
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(protocol, func(t *testing.T) {
			h := handlerOf(Catalog{Tools: []Tool{trap, whoami()}})
			s := session(t, serve(t, h, time.Now().Add(time.Hour)), protocol)
			_, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "trap"})
			if err == nil || !strings.Contains(err.Error(), "internal error") || strings.Contains(err.Error(), "42") {
				t.Errorf("the caller gets %v", err)
			}
			if r, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "whoami"}); err != nil || r.IsError {
				t.Errorf("afterwards whoami answers %v, %v", r, err)
			}
		})
	}
}

func TestAnUnknownToolIsAnErrorInBothEras(t *testing.T) {
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		h := handlerOf(Catalog{Tools: []Tool{whoami()}})
		s := session(t, serve(t, h, time.Now().Add(time.Hour)), protocol)
		if _, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "nosuch"}); err == nil {
			t.Errorf("%s: no error", protocol)
		}
	}
}

// A stream of notifications must not go on telling things to somebody whose token is over.
func TestAStandingStreamEndsWithItsToken(t *testing.T) {
	h := handlerOf(Catalog{Tools: []Tool{whoami()}})
	// The stream may use the leeway that the token itself has.
	url := serve(t, h, time.Now().Add(-providers.DefaultLeeway).Add(700*time.Millisecond))
	post := func(body string, header map[string]string) *http.Response {
		req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
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
		return resp
	}
	opened := post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, nil)
	_, _ = io.Copy(io.Discard, opened.Body)
	opened.Body.Close()
	sid := opened.Header.Get("Mcp-Session-Id")

	for name, open := range map[string]func() *http.Response{
		"the GET stream of 2025-11-25": func() *http.Response {
			req, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "text/event-stream")
			req.Header.Set("Mcp-Session-Id", sid)
			resp, err := bearerClient().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		},
		"subscriptions/listen of 2026-07-28": func() *http.Response {
			return post(`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`,
				map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			resp := open()
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				body, _ := io.ReadAll(resp.Body)
				t.Fatalf("answered %d %s", resp.StatusCode, body)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("the stream went on for %v", took)
			}
		})
	}
}

func TestABodyOverTheLimitIs413(t *testing.T) {
	h := handlerOf(Catalog{Tools: []Tool{whoami()}})
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
