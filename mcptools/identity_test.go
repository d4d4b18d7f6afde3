package mcptools

import (
	"slices"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
)

func TestCaller_IsTheInverseOfTokenInfo(t *testing.T) {
	id := &providers.Identity{Issuer: "https://a.example", Subject: "alice", Scopes: []string{"x"}}
	info := TokenInfo(id)
	req := &mcp.CallToolRequest{Extra: &mcp.RequestExtra{TokenInfo: info}}
	if Caller(req) != id || info.UserID != id.Principal() || !slices.Equal(info.Scopes, id.Scopes) ||
		!info.Expiration.Equal(id.ExpiryWithLeeway) {
		t.Errorf("TokenInfo = %+v", info)
	}
	for name, info := range map[string]*auth.TokenInfo{
		"no TokenInfo":       nil,
		"another verifier's": {UserID: "alice"},
		"a forged one":       {Extra: map[string]any{"gatehouse.identity": "alice"}},
	} {
		if got := Caller(&mcp.CallToolRequest{Extra: &mcp.RequestExtra{TokenInfo: info}}); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := Caller(&mcp.CallToolRequest{}); got != nil {
		t.Errorf("no extra: %+v", got)
	}
}
