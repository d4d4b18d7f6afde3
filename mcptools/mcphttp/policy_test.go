package mcphttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// switched serves alice by the policy that is in force when a request arrives.
type switched struct {
	handler  *Handler
	endpoint atomic.Pointer[Endpoint]
}

func newSwitched(t *testing.T, catalog mcptools.Catalog, p Policy) (s *switched, url string) {
	t.Helper()
	s = &switched{handler: handlerOf(catalog)}
	s.endpoint.Store(s.handler.With(p))
	srv := httptest.NewServer(authenticated(alice("mcp:use"), s))
	t.Cleanup(func() {
		s.handler.CloseStreams()
		srv.Close()
		s.handler.CloseSessions()
	})
	return s, srv.URL
}

func (s *switched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, handler, done := s.endpoint.Load().Route(r)
	defer done()
	handler.ServeHTTP(w, r)
}

// The middleware judges by the policy that routed the request: on each transport, and in a session by that of
// each message.
func TestEndpoint_ItsPolicyTravelsToTheMiddleware(t *testing.T) {
	open := Policy{Settings: DefaultSettings(), RequiredScopes: []string{"mcp:use"}}
	closed := Policy{Settings: DefaultSettings(), RequiredScopes: []string{"mcp:other"}}
	s, url := newSwitched(t, mcptools.Catalog{Tools: []mcptools.Tool{whoami()}}, open)
	session := map[string]string{sessionHeader: openSession(t, url)}
	posts := map[string]testPost{
		"without a session":      modernCall("whoami", "{}"),
		"by the SDK's handler":   modernCall("whoami", "{}").replaced(`"id":7`, `"id":-1`),
		"in a session":           legacy("tools/call", `"name":"whoami"`).with(sessionHeader, session[sessionHeader]),
		"a list, in the session": legacy("tools/list", "").with(sessionHeader, session[sessionHeader]),
	}
	for _, one := range []struct {
		policy  Policy
		allowed bool
	}{{open, true}, {closed, false}, {open, true}} {
		s.endpoint.Store(s.handler.With(one.policy))
		for name, p := range posts {
			resp, err := http.DefaultClient.Do(p.to(url))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if denied := strings.Contains(string(body), textScopeMissing); denied == one.allowed {
				t.Errorf("%s: required %v: answered %d %s", name, one.policy.RequiredScopes, resp.StatusCode, body)
			}
		}
	}
}

func TestEndpoint_AppliesTheSettingsOfItsPolicy(t *testing.T) {
	s, url := newSwitched(t, mcptools.Catalog{Tools: []mcptools.Tool{
		whoami(), newTool("slow", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}),
	}}, Policy{Settings: DefaultSettings()})
	post := func(p testPost) (status int, body string) {
		resp, err := http.DefaultClient.Do(p.to(url))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	if status, body := post(modernCall("whoami", "{}")); status != http.StatusOK {
		t.Errorf("before: %d %s", status, body)
	}
	small := Policy{Settings: DefaultSettings(), MaxBodyBytes: 10}
	s.endpoint.Store(s.handler.With(small))
	if status, body := post(modernCall("whoami", "{}")); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a long body: %d %s", status, body)
	}
	hasty := Policy{Settings: DefaultSettings()}
	hasty.Settings.CallTimeout, hasty.Settings.Keepalive = 200*time.Millisecond, 50*time.Millisecond
	s.endpoint.Store(s.handler.With(hasty))
	for name, p := range map[string]testPost{
		"direct": modernCall("slow", "{}"), "by the SDK": modernCall("slow", "{}").replaced(`"id":7`, `"id":-1`),
	} {
		began := time.Now()
		_, body := post(p)
		if took := time.Since(began); took > 10*time.Second || !strings.Contains(body, ": keepalive") {
			t.Errorf("%s: a slow call took %s: %s", name, took, body)
		}
	}
}

func TestHandler_SetLimits(t *testing.T) {
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{whoami()}})
	url := serve(t, h, time.Now().Add(time.Hour))
	for range 5 {
		openSession(t, url)
	}
	limits := DefaultSettings()
	limits.MaxSessionsPerUser = 2
	h.SetLimits(limits)
	if n := h.Sessions(); n != 5 {
		t.Errorf("%d sessions after the limit was lowered, want 5", n)
	}
	openSession(t, url)
	if n := h.Sessions(); n != 2 {
		t.Errorf("%d sessions after another was opened, want 2", n)
	}
	limits.MaxCallsPerUser, limits.MaxStreamsPerUser = 1, 1
	limits.MaxBytes, limits.MaxBytesPerUser = 100<<10, 90<<10
	h.SetLimits(limits)
	for name, q := range map[string]*quota{"calls": h.calls, "streams": h.streams} {
		if first, second := q.acquire("bob"), q.acquire("bob"); first != nil || second == nil {
			t.Errorf("%s: %v, %v", name, first, second)
		}
	}
	if got := fmt.Sprint(h.bytes.maxPerUser, h.bytes.maxTotal); got != "92160 102400" {
		t.Errorf("bytes: %s", got)
	}
}
