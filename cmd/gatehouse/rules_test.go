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

// Rules of the resource server that are about the whole house rather than one step of its chain.

func TestRS03TheMetadataIsWhereClientsLook(t *testing.T) {
	h := startHouse(t, nil)
	for name, path := range map[string]string{
		"RS-03d in front of the resource's path": "/.well-known/oauth-protected-resource/mcp",
		"RS-03e at the root":                     "/.well-known/oauth-protected-resource",
	} {
		t.Run(name, func(t *testing.T) {
			a := send(t, http.MethodGet, h.origin()+path, "", "", nil)
			var m providers.Metadata
			if err := json.Unmarshal([]byte(a.body), &m); err != nil || a.status != http.StatusOK {
				t.Fatalf("answered %d %s", a.status, a.body)
			}
			if len(m.AuthorizationServers) == 0 || m.AuthorizationServers[0] != h.origin() {
				t.Errorf("RS-03b authorization servers %v, want %s first", m.AuthorizationServers, h.origin())
			}
			if m.Resource != h.url {
				t.Errorf("RS-03c resource %s, clients type %s", m.Resource, h.url)
			}
			if got := strings.Join(m.ScopesSupported, " "); got != "mcp:use greet:read" {
				t.Errorf("RS-15 scopes %s, want those of first sign-in and no more", got)
			}
			if strings.Contains(a.body, "offline_access") {
				t.Error("RS-04 offline_access is the client's to ask for")
			}
		})
	}
	challenge := send(t, http.MethodPost, h.url, "", "", nil).header.Get("WWW-Authenticate")
	if !strings.Contains(challenge, "scope=") || strings.Contains(challenge, "offline_access") {
		t.Errorf("RS-04 the challenge is %s", challenge)
	}
}

func TestRS05NothingIsServedOrToldWithoutAToken(t *testing.T) {
	h := startHouse(t, nil)
	session := h.openSession(t, h.token(t, "alice", "mcp:use"))
	for name, w := range map[string]wire{
		"initialize":                            {body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`},
		"server/discover":                       modernWire("server/discover", ""),
		"tools/list":                            modernWire("tools/list", ""),
		"subscriptions/listen":                  modernWire("subscriptions/listen", `"notifications":{}`),
		"an unknown method":                     modernWire("nosuch", ""),
		"something else":                        {body: "not JSON"},
		"GET":                                   {method: http.MethodGet, header: map[string]string{"Accept": "text/event-stream"}},
		"DELETE":                                {method: http.MethodDelete},
		"RS-18 a session id instead of a token": {header: map[string]string{"Mcp-Session-Id": session}, body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`},
		"RS-18 a session's stream":              {method: http.MethodGet, header: map[string]string{"Mcp-Session-Id": session, "Accept": "text/event-stream"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.send(t, h, "")
			if a.status != http.StatusUnauthorized {
				t.Errorf("answered %d, want 401", a.status)
			}
			for _, tell := range []string{"gatehouse", "Gatehouse", "greet", "2025-11-25", "2026-07-28", "go-sdk", "echo"} {
				if strings.Contains(a.body, tell) || a.header.Get("Server") != "" {
					t.Errorf("RS-05b the answer tells about the server: %v %s", a.header, a.body)
				}
			}
		})
	}
}

func TestRS17NothingTravelsInTheClear(t *testing.T) {
	if _, err := configs.Load(configs.Sources{Flags: map[string]string{"resource": "http://mcp.example.com/mcp"}}); err == nil || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("a plain http resource in public gives %v", err)
	}
}

func TestTR23AServerForThisComputerListensOnThisComputer(t *testing.T) {
	cfg, err := configs.Load(configs.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if host, _, err := net.SplitHostPort(cfg.Server.Listen); err != nil || !providers.IsLoopback(host) {
		t.Errorf("it listens on %s", cfg.Server.Listen)
	}
}

// What a tool asks of a person is part of the result in the modern era, and never a request on the stream.
func TestQuestionsToThePersonKeepTheRules(t *testing.T) {
	h := startHouse(t, nil)
	token := h.token(t, "alice", "mcp:use", "greet:write")
	ask := modernWire("tools/call", `"name":"send_greeting","arguments":{"name":"Ada"}`).with("Mcp-Name", "send_greeting")

	a := ask.withBody(`"io.modelcontextprotocol/clientCapabilities":{}`, `"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}`).send(t, h, token)
	result, _ := a.rpc(t)["result"].(map[string]any)
	if result["resultType"] != "input_required" || strings.Count(a.body, `"jsonrpc"`) != 1 {
		t.Errorf("TR-22 answered %s", a.body)
	}
	if _, has := result["requestState"]; has {
		t.Errorf("RS-19 state that a caller could change is sent: %s", a.body)
	}
	if !strings.Contains(a.body, `"mode":"form"`) || strings.Count(a.body, `"type":"boolean"`) != 1 || strings.Contains(a.body, `"type":"string"`) {
		t.Errorf("RS-22 the form asks for more than a yes: %s", a.body)
	}
	// TR-10b: a capability is never presumed. This tool does without, and says so.
	if a := ask.send(t, h, token); a.status != http.StatusOK || !strings.Contains(a.body, "your client cannot ask") {
		t.Errorf("TR-10b answered %d %s", a.status, a.body)
	}
}
