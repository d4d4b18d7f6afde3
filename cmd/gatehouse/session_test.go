package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A session outlives tokens. What a tool knows and may do comes from the token of the request, never from the token
// that opened the session.
func TestSession_UsesIdentityOfEachRequest(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	wide := srv.token(t, "alice", "mcp:use", "greet:read", "gatehouse:admin")
	narrow := srv.token(t, "alice", "mcp:use")
	session := srv.openSession(t, wide)

	for _, c := range []struct {
		name, token, want string
	}{
		{"the token that opened the session", wide, "[mcp:use greet:read gatehouse:admin]"},
		{"a narrower token of the same user", narrow, "[mcp:use]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, header := callLegacy("whoami", "{}", session)
			content := structuredContent(t, send(t, http.MethodPost, srv.url, c.token, body, header))
			if got := fmt.Sprint(content["scopes"]); got != c.want {
				t.Errorf("the tool sees scopes %s, want %s", got, c.want)
			}
		})
	}
	t.Run("the narrower token may not call what the wider one could", func(t *testing.T) {
		body, header := callLegacy("stats", "{}", session)
		if r := send(t, http.MethodPost, srv.url, narrow, body, header); r.status != http.StatusForbidden {
			t.Errorf("got %d %s, want 403", r.status, r.body)
		}
	})
}

// TR-38: a session belongs to the caller that opened it. For all others it does not exist.
func TestSession_IsUnknownToOtherCallers(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	alice, bob := srv.token(t, "alice", "mcp:use"), srv.token(t, "bob", "mcp:use")
	session := srv.openSession(t, alice)

	body, header := callLegacy("whoami", "{}", session)
	if r := send(t, http.MethodPost, srv.url, bob, body, header); r.status != http.StatusNotFound {
		t.Errorf("POST with another user's token: %d %s", r.status, r.body)
	}
	stream := map[string]string{"Mcp-Session-Id": session, "Accept": "text/event-stream"}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if r := send(t, method, srv.url, bob, "", stream); r.status != http.StatusNotFound {
			t.Errorf("%s with another user's token: %d %s", method, r.status, r.body)
		}
	}
	content := structuredContent(t, send(t, http.MethodPost, srv.url, alice, body, header))
	if content["subject"] != "alice" {
		t.Errorf("the owner's session was affected: %v", content)
	}
}

// openStream opens the standalone stream of a session. The body of the response stays open.
func (srv *testServer) openStream(t *testing.T, token, session string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, srv.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Mcp-Session-Id", session)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// Without a shutdown hook, net/http would wait for open streams until the shutdown timeout.
func TestStreams_EndWhenServerStops(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	token := srv.token(t, "alice", "mcp:use")
	for range 3 {
		if resp := srv.openStream(t, token, srv.openSession(t, token)); resp.StatusCode != http.StatusOK {
			t.Fatalf("the stream returned %d", resp.StatusCode)
		}
	}
	begin := time.Now()
	srv.stop()
	if took := time.Since(begin); took > 2*time.Second { // far below the shutdown timeout of 20 s
		t.Errorf("stopping with open streams took %v", took)
	}
}

func TestStreams_AreLimitedPerCallerAndInTotal(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"mcp.max_streams_per_user": "2", "mcp.max_streams": "3"})
	alice, bob := srv.token(t, "alice", "mcp:use"), srv.token(t, "bob", "mcp:use")
	open := func(token string) *http.Response { return srv.openStream(t, token, srv.openSession(t, token)) }
	first := open(alice)
	open(alice)
	if resp := open(alice); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("alice's third stream returned %d, want 429 with Retry-After", resp.StatusCode)
	}
	if resp := open(bob); resp.StatusCode != http.StatusOK {
		t.Errorf("bob's first stream returned %d", resp.StatusCode)
	}
	if resp := open(bob); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the fourth stream in total returned %d, want 503", resp.StatusCode)
	}
	first.Body.Close()
	for range 100 {
		if resp := open(alice); resp.StatusCode == http.StatusOK {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a closed stream still counts")
}

func TestEras_AreServedAtOneURL(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	modernBody, modernHeader := callModern("greet", `{"name":"Ada"}`)
	r := send(t, http.MethodPost, srv.url, token, modernBody, modernHeader)
	if got := structuredContent(t, r)["greeting"]; got != "Hello, Ada!" || r.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("2026-07-28: %v, session %q; want a greeting and no session", got, r.header.Get("Mcp-Session-Id"))
	}
	legacyBody, legacyHeader := callLegacy("greet", `{"name":"Ada"}`, srv.openSession(t, token))
	r = send(t, http.MethodPost, srv.url, token, legacyBody, legacyHeader)
	if got := structuredContent(t, r)["greeting"]; got != "Hello, Ada!" {
		t.Errorf("2025-11-25: %v", got)
	}
	t.Run("TR-04 a modern request without its version header is refused as such", func(t *testing.T) {
		delete(modernHeader, "Mcp-Protocol-Version")
		r := send(t, http.MethodPost, srv.url, token, modernBody, modernHeader)
		if r.status != http.StatusBadRequest || !strings.Contains(r.body, "-32020") {
			t.Errorf("got %d %s, want 400 with -32020", r.status, r.body)
		}
	})
}

func TestEras_StatelessKeepsNoSessions(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"mcp.era": "stateless"})
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	r := send(t, http.MethodPost, srv.url, token, initializeBody, nil)
	if r.status != http.StatusOK || r.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("initialize returned %d with session %q, want none", r.status, r.header.Get("Mcp-Session-Id"))
	}
	body, header := callLegacy("greet", `{"name":"Ada"}`, "")
	r = send(t, http.MethodPost, srv.url, token, body, header)
	if got := structuredContent(t, r)["greeting"]; got != "Hello, Ada!" {
		t.Errorf("a call of the older era got %v", got)
	}
	if n := srv.MCP.Sessions(); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
}
