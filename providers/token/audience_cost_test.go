package token

import (
	"slices"
	"testing"
)

// A token can name hundreds of audiences. Whoever makes one up must not have each of them taken apart.
func TestAcceptsAudienceDoesNotAllocate(t *testing.T) {
	v := NewVerifier(Rules{Audiences: []string{"https://mcp.example.com/mcp", "https://mcp.example.com",
		"api://mcp"}}, nil)
	hostile := slices.Repeat([]string{"https://mcp.example.com:1", "HTTPS://MCP.EXAMPLE.COM/MCP",
		"https://mcp.example.com:443/mcp/", "api://MCP"}, 100)
	if v.acceptsAudience(hostile) || !v.acceptsAudience(append(hostile, "HTTPS://mcp.example.com:443")) {
		t.Fatal("almost ours is not told from ours")
	}
	if n := testing.AllocsPerRun(10, func() { v.acceptsAudience(hostile) }); n > 0 {
		t.Errorf("%v allocations for %d audiences", n, len(hostile))
	}
}
