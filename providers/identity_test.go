package providers_test

import (
	"slices"
	"testing"

	"gatehouse/providers"
)

func TestIdentityFrom_ReturnsTheIdentityOfTheContext(t *testing.T) {
	id := &providers.Identity{Issuer: "https://a.example", Subject: "alice"}
	ctx := providers.WithIdentity(t.Context(), id)
	if got := providers.IdentityFrom(ctx); got != id {
		t.Errorf("IdentityFrom = %+v, want %+v", got, id)
	}
	if got := providers.IdentityFrom(t.Context()); got != nil {
		t.Errorf("without an identity: %+v", got)
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
