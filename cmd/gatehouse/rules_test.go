package main

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/providers"
)

// Rules of the resource server that concern the complete server rather than one step of its chain.

func TestRS03_MetadataIsWhereClientsLook(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	for name, path := range map[string]string{
		"RS-03d in front of the resource's path": "/.well-known/oauth-protected-resource/mcp",
		"RS-03e at the root":                     "/.well-known/oauth-protected-resource",
	} {
		t.Run(name, func(t *testing.T) {
			r := send(t, http.MethodGet, srv.origin()+path, "", "", nil)
			var m providers.Metadata
			if err := json.Unmarshal([]byte(r.body), &m); err != nil || r.status != http.StatusOK {
				t.Fatalf("got %d %s", r.status, r.body)
			}
			if len(m.AuthorizationServers) == 0 || m.AuthorizationServers[0] != srv.origin() {
				t.Errorf("RS-03b authorization servers %v, want %s first", m.AuthorizationServers, srv.origin())
			}
			if m.Resource != srv.url {
				t.Errorf("RS-03c resource %s, clients use %s", m.Resource, srv.url)
			}
			if got := strings.Join(m.ScopesSupported, " "); got != "mcp:use greet:read" {
				t.Errorf("RS-15 scopes %s, want exactly those of the first sign-in", got)
			}
			if strings.Contains(r.body, "offline_access") {
				t.Error("RS-04 the metadata names offline_access, which is for clients to request")
			}
		})
	}
	challenge := send(t, http.MethodPost, srv.url, "", "", nil).header.Get("WWW-Authenticate")
	if !strings.Contains(challenge, "scope=") || strings.Contains(challenge, "offline_access") {
		t.Errorf("RS-04 the challenge is %s", challenge)
	}
}

func TestRS05_NothingIsServedOrDisclosedWithoutToken(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	session := srv.openSession(t, srv.token(t, "alice", "mcp:use"))
	for name, r := range map[string]request{
		"initialize":           {body: initializeBody},
		"server/discover":      modernRequest("server/discover", ""),
		"tools/list":           modernRequest("tools/list", ""),
		"subscriptions/listen": modernRequest("subscriptions/listen", `"notifications":{}`),
		"an unknown method":    modernRequest("nosuch", ""),
		"no JSON":              {body: "not JSON"},
		"GET":                  {method: http.MethodGet, header: map[string]string{"Accept": "text/event-stream"}},
		"DELETE":               {method: http.MethodDelete},
		"RS-18 a session ID instead of a token": request{
			body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
		}.with("Mcp-Session-Id", session),
		"RS-18 the stream of a session": request{
			method: http.MethodGet,
		}.with("Mcp-Session-Id", session, "Accept", "text/event-stream"),
	} {
		t.Run(name, func(t *testing.T) {
			r := r.send(t, srv, "")
			if r.status != http.StatusUnauthorized {
				t.Errorf("got %d, want 401", r.status)
			}
			for _, word := range []string{"gatehouse", "Gatehouse", "greet", "2025-11-25", "2026-07-28", "go-sdk", "echo"} {
				if strings.Contains(r.body, word) || r.header.Get("Server") != "" {
					t.Errorf("RS-05b the response discloses details of the server: %v %s", r.header, r.body)
				}
			}
		})
	}
}

func TestRS17_PlainHTTPResourceIsRefused(t *testing.T) {
	t.Parallel()
	_, err := configs.Load(configs.Sources{Flags: map[string]string{"resource": "http://mcp.example.com/mcp"}})
	if err == nil || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("a public plain http resource gives %v", err)
	}
}

func TestTR23_LocalServerListensOnLoopback(t *testing.T) {
	t.Parallel()
	cfg, err := configs.Load(configs.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if host, _, err := net.SplitHostPort(cfg.Server.Listen); err != nil || !providers.IsLoopback(host) {
		t.Errorf("it listens on %s", cfg.Server.Listen)
	}
}

// In the modern era, a question to the user is part of the result, never a request on the stream.
func TestElicitation_FollowsTheRules(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	token := srv.token(t, "alice", "mcp:use", "greet:write")
	confirm := modernRequest("tools/call", `"name":"confirm","arguments":{"name":"Ada"}`).with("Mcp-Name", "confirm")

	const noCapabilities = `"io.modelcontextprotocol/clientCapabilities":{}`
	const forms = `"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}`
	r := confirm.withBody(noCapabilities, forms).send(t, srv, token)
	result, _ := r.rpc(t)["result"].(map[string]any)
	if result["resultType"] != "input_required" || strings.Count(r.body, `"jsonrpc"`) != 1 {
		t.Errorf("TR-22 got %s", r.body)
	}
	if _, has := result["requestState"]; has {
		t.Errorf("RS-19 the response contains state that a caller could change: %s", r.body)
	}
	if !strings.Contains(r.body, `"mode":"form"`) || strings.Count(r.body, `"type":"boolean"`) != 1 ||
		strings.Contains(r.body, `"type":"string"`) {
		t.Errorf("RS-22 the form is not the one of the tool: %s", r.body)
	}
	// TR-10b: a capability that the client does not declare is not used.
	if r := confirm.send(t, srv, token); r.status != http.StatusOK || !strings.Contains(r.body, "not asked") {
		t.Errorf("TR-10b got %d %s", r.status, r.body)
	}
}
