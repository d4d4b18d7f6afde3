package server

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"gatehouse/providers"
)

// Expanding scopes only adds scopes, terminates despite cycles, is idempotent, and does not modify the provider's
// identity.
func TestScopeHierarchyExpandIsAClosure(t *testing.T) {
	scope := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	rapid.Check(t, func(t *rapid.T) {
		m := ScopeHierarchy(rapid.MapOf(scope, rapid.SliceOfN(scope, 0, 3)).Draw(t, "implications"))
		id := &providers.Identity{Scopes: rapid.SliceOfN(scope, 0, 3).Draw(t, "scopes")}
		before := slices.Clone(id.Scopes)
		once := m.expand(id)
		twice := m.expand(once)
		if !slices.Equal(once.Scopes, twice.Scopes) {
			t.Fatalf("once %v, twice %v", once.Scopes, twice.Scopes)
		}
		if !slices.Equal(id.Scopes, before) {
			t.Fatalf("the identity changed from %v to %v", before, id.Scopes)
		}
		for _, s := range before {
			if !slices.Contains(once.Scopes, s) {
				t.Fatalf("%s was lost", s)
			}
		}
		for _, held := range once.Scopes {
			for _, implied := range m[held] {
				if !slices.Contains(once.Scopes, implied) {
					t.Fatalf("%s implies %s, which is missing from %v", held, implied, once.Scopes)
				}
			}
		}
	})
}
