package providers_test

import (
	"slices"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"gatehouse/providers"
)

func TestAnIdentityTravelsThroughTheSDK(t *testing.T) {
	id := &providers.Identity{Issuer: "https://a.example", Subject: "alice", Scopes: []string{"x"}}
	info := id.TokenInfo()
	if providers.FromTokenInfo(&info) != id || info.UserID != id.Principal() || !slices.Equal(info.Scopes, id.Scopes) || !info.Expiration.Equal(id.ExpiryWithLeeway) {
		t.Errorf("TokenInfo = %+v", info)
	}
	for name, info := range map[string]*auth.TokenInfo{
		"none": nil, "another verifier's": {UserID: "alice"}, "a forged one": {Extra: map[string]any{"gatehouse.identity": "alice"}},
	} {
		if got := providers.FromTokenInfo(info); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Sessions are bound to the principal: the same name at two issuers is two people.
func TestPrincipalsOfTwoIssuersDiffer(t *testing.T) {
	a := &providers.Identity{Issuer: "https://a.example", Subject: "alice"}
	b := &providers.Identity{Issuer: "https://b.example", Subject: "alice"}
	if a.Principal() == b.Principal() || a.Principal() == "" {
		t.Errorf("%q and %q", a.Principal(), b.Principal())
	}
}

func TestMissingScopesAreWholeWords(t *testing.T) {
	id := &providers.Identity{Scopes: []string{"files:read", "mcp"}}
	needed := []string{"files", "files:read", "mcp:use", "Mcp", ""}
	if got := id.Missing(needed); !slices.Equal(got, []string{"files", "mcp:use", "Mcp", ""}) {
		t.Errorf("Missing = %q", got)
	}
	if got := (&providers.Identity{}).Missing(nil); got != nil {
		t.Errorf("Missing = %q", got)
	}
}
