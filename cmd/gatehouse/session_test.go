package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A session outlives tokens. What a tool may know and do comes from the token of the request, never from the one that
// opened the session.
func TestASessionShowsTheIdentityOfTheRequestAndNotOfItsFirst(t *testing.T) {
	h := startHouse(t, nil)
	wide := h.token(t, "alice", "mcp:use", "greet:read", "gatehouse:admin")
	narrow := h.token(t, "alice", "mcp:use")
	session := h.openSession(t, wide)

	for _, c := range []struct {
		name, token, want string
	}{
		{"the token that opened the session", wide, "[mcp:use greet:read gatehouse:admin]"},
		{"a narrower token of the same person", narrow, "[mcp:use]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, header := callLegacy("whoami", "{}", session)
			content := structured(t, send(t, http.MethodPost, h.url, c.token, body, header))
			if got := fmt.Sprint(content["scopes"]); got != c.want {
				t.Errorf("the tool sees scopes %s, want %s", got, c.want)
			}
		})
	}
	t.Run("the narrower token may not call what the session could", func(t *testing.T) {
		body, header := callLegacy("server_stats", "{}", session)
		if a := send(t, http.MethodPost, h.url, narrow, body, header); a.status != http.StatusForbidden {
			t.Errorf("answered %d %s, want 403", a.status, a.body)
		}
	})
}

// TR-38: a session belongs to the one who opened it. To everybody else there is none.
func TestASessionIsRefusedToAnybodyElse(t *testing.T) {
	h := startHouse(t, nil)
	alice, bob := h.token(t, "alice", "mcp:use"), h.token(t, "bob", "mcp:use")
	session := h.openSession(t, alice)

	body, header := callLegacy("whoami", "{}", session)
	if a := send(t, http.MethodPost, h.url, bob, body, header); a.status != http.StatusNotFound {
		t.Errorf("POST with another person's token answered %d %s", a.status, a.body)
	}
	stream := map[string]string{"Mcp-Session-Id": session, "Accept": "text/event-stream"}
	if a := send(t, http.MethodGet, h.url, bob, "", stream); a.status != http.StatusNotFound {
		t.Errorf("GET with another person's token answered %d %s", a.status, a.body)
	}
	if a := send(t, http.MethodDelete, h.url, bob, "", stream); a.status != http.StatusNotFound {
		t.Errorf("DELETE with another person's token answered %d %s", a.status, a.body)
	}
	if content := structured(t, send(t, http.MethodPost, h.url, alice, body, header)); content["subject"] != "alice" {
		t.Errorf("the owner's session was harmed: %v", content)
	}
}

// openStream opens the standing stream of a session and returns its answer, whose body goes on.
func (r *running) openStream(t *testing.T, token, session string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Authorization": "Bearer " + token, "Accept": "text/event-stream", "Mcp-Session-Id": session} {
		req.Header.Set(k, v)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// An HTTP server waits for open streams until its deadline. These must be gone within a second.
func TestStandingStreamsEndAtOnceWhenTheServerStops(t *testing.T) {
	h := startHouse(t, nil)
	token := h.token(t, "alice", "mcp:use")
	for range 3 {
		if resp := h.openStream(t, token, h.openSession(t, token)); resp.StatusCode != http.StatusOK {
			t.Fatalf("the stream answered %d", resp.StatusCode)
		}
	}
	begin := time.Now()
	h.stop()
	if took := time.Since(begin); took > time.Second {
		t.Errorf("stopping with open streams took %v", took)
	}
}

func TestStandingStreamsAreBoundedForEachCallerAndInAll(t *testing.T) {
	h := startHouse(t, map[string]string{"mcp.max_streams_per_user": "2", "mcp.max_streams": "3"})
	alice, bob := h.token(t, "alice", "mcp:use"), h.token(t, "bob", "mcp:use")
	first := h.openStream(t, alice, h.openSession(t, alice))
	h.openStream(t, alice, h.openSession(t, alice))
	if resp := h.openStream(t, alice, h.openSession(t, alice)); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("alice's third stream answered %d, want 429 with Retry-After", resp.StatusCode)
	}
	if resp := h.openStream(t, bob, h.openSession(t, bob)); resp.StatusCode != http.StatusOK {
		t.Errorf("bob's first stream answered %d", resp.StatusCode)
	}
	if resp := h.openStream(t, bob, h.openSession(t, bob)); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the fourth in all answered %d, want 503", resp.StatusCode)
	}
	first.Body.Close()
	for range 100 {
		if resp := h.openStream(t, alice, h.openSession(t, alice)); resp.StatusCode == http.StatusOK {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a stream that was closed never made room")
}

// Both eras on one address, told apart by what the request says of itself.
func TestBothErasAreServedAtOneAddress(t *testing.T) {
	h := startHouse(t, nil)
	token := h.token(t, "alice", "mcp:use", "greet:read")
	modernBody, modernHeader := callModern("greet", `{"name":"Ada"}`)
	a := send(t, http.MethodPost, h.url, token, modernBody, modernHeader)
	if got := structured(t, a)["greeting"]; got != "Hello, Ada!" || a.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("2026-07-28: %v, session %q; want a greeting and no session", got, a.header.Get("Mcp-Session-Id"))
	}
	legacyBody, legacyHeader := callLegacy("greet", `{"name":"Ada"}`, h.openSession(t, token))
	if got := structured(t, send(t, http.MethodPost, h.url, token, legacyBody, legacyHeader))["greeting"]; got != "Hello, Ada!" {
		t.Errorf("2025-11-25: %v", got)
	}
	t.Run("TR-04 a modern request without its version header is told so", func(t *testing.T) {
		delete(modernHeader, "Mcp-Protocol-Version")
		a := send(t, http.MethodPost, h.url, token, modernBody, modernHeader)
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, "-32020") {
			t.Errorf("answered %d %s, want 400 with -32020", a.status, a.body)
		}
	})
}

func TestTheStatelessEraKeepsNoSessions(t *testing.T) {
	h := startHouse(t, map[string]string{"mcp.era": "stateless"})
	token := h.token(t, "alice", "mcp:use", "greet:read")
	a := send(t, http.MethodPost, h.url, token, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`, nil)
	if a.status != http.StatusOK || a.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("initialize answered %d with session %q, want none", a.status, a.header.Get("Mcp-Session-Id"))
	}
	body, header := callLegacy("greet", `{"name":"Ada"}`, "")
	if got := structured(t, send(t, http.MethodPost, h.url, token, body, header))["greeting"]; got != "Hello, Ada!" {
		t.Errorf("a call of the older era got %v", got)
	}
	if n := h.MCP.Sessions(); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
}
