package demo

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
	"gatehouse/providers/providertest/golden"
)

// connect serves the demo tools to alice, who has their scopes, and returns her client.
func connect(t *testing.T, stats mcptools.Stats) *mcp.ClientSession {
	t.Helper()
	handler := mcphttp.NewHandler(mcphttp.Config{
		Policy: mcphttp.Policy{Settings: mcphttp.DefaultSettings()},
		Info:   mcp.Implementation{Name: "test", Version: "1"},
		Logger: slog.New(slog.DiscardHandler),
	}, mcptools.Catalog{Tools: Tools(stats)})
	expiry := time.Now().Add(time.Hour)
	alice := &providers.Identity{
		Issuer: "http://issuer", Subject: "alice", Scopes: Scopes(), Expiry: expiry, ExpiryWithLeeway: expiry,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(providers.WithIdentity(r.Context(), alice))
		_, next, done := handler.Route(r)
		defer done()
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		handler.CloseStreams()
		server.Close()
		handler.CloseSessions()
	})
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{
			Endpoint: server.URL,
		}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

// What clients see of the tools is an interface: a change must be intended and visible in its commit.
func TestTools_LookToClientsAsBefore(t *testing.T) {
	list, err := connect(t, mcptools.Stats{}).ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(list.Tools, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden.File(t, "testdata/tools.json", got)
}

func TestScopes_AreThoseOfTheProfiles(t *testing.T) {
	if want := []string{"greet:read", "greet:write", "gatehouse:admin"}; !slices.Equal(Scopes(), want) {
		t.Errorf("got %v, want %v: profiles, the local issuer and the Keycloak realm name them", Scopes(), want)
	}
}

func TestTools_ReturnTheirOutput(t *testing.T) {
	session := connect(t, mcptools.Stats{})
	for _, c := range []struct {
		tool      string
		arguments map[string]any
		member    string // of the structured output
		want      any
		isError   bool
	}{
		{tool: "whoami", member: "subject", want: "alice"},
		{tool: "greet", arguments: map[string]any{"name": " Ada "}, member: "greeting", want: "Hello, Ada!"},
		{tool: "greet", arguments: map[string]any{"name": ""}, isError: true},
		{tool: "countdown", arguments: map[string]any{"seconds": 61}, isError: true},
		{tool: "send_greeting", arguments: map[string]any{"name": "Ada"}, member: "asked", want: false},
		{tool: "server_stats", member: "open_sessions", want: 0.0},
	} {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: c.tool, Arguments: c.arguments})
		if err != nil {
			t.Errorf("%s: %v", c.tool, err)
			continue
		}
		output, _ := result.StructuredContent.(map[string]any)
		if result.IsError != c.isError || output[c.member] != c.want {
			t.Errorf("%s %v: error %v, %v", c.tool, c.arguments, result.IsError, result.StructuredContent)
		}
	}
}

// A server with upstreams shows their states, too. Its other members are the same.
func TestServerStats_OfAServerWithUpstreams(t *testing.T) {
	session := connect(t, mcptools.Stats{Upstreams: func() []mcptools.UpstreamStats {
		return []mcptools.UpstreamStats{
			{Name: "files", State: "ready"}, {Name: "notes", State: "down", Reason: "upstream_lost"},
		}
	}})
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "server_stats"})
	if err != nil || result.IsError {
		t.Fatalf("%+v, %v", result, err)
	}
	output, _ := json.Marshal(result.StructuredContent)
	const want = `{"open_sessions":0,"requests":{},"upstreams":[{"name":"files","state":"ready"},` +
		`{"name":"notes","reason":"upstream_lost","state":"down"}],"uptime_seconds":`
	if !strings.HasPrefix(string(output), want) {
		t.Errorf("%s", output)
	}
}
