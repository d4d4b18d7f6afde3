package token

import (
	"slices"
	"testing"
)

// A token can contain hundreds of audiences. Parsing each would make invented tokens expensive.
func TestAcceptsAudienceDoesNotAllocate(t *testing.T) {
	v := NewVerifier(Rules{Audiences: []string{"https://mcp.example.com/mcp", "https://mcp.example.com",
		"api://mcp"}}, nil)
	hostile := slices.Repeat([]string{"https://mcp.example.com:1", "HTTPS://MCP.EXAMPLE.COM/MCP",
		"https://mcp.example.com:443/mcp/", "api://MCP"}, 100)
	if v.acceptsAudience(hostile) || !v.acceptsAudience(append(hostile, "HTTPS://mcp.example.com:443")) {
		t.Fatal("similar audiences are not distinguished")
	}
	if n := testing.AllocsPerRun(10, func() { v.acceptsAudience(hostile) }); n > 0 {
		t.Errorf("%v allocations for %d audiences", n, len(hostile))
	}
}
