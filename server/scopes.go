package server

import (
	"slices"

	"gatehouse/providers"
)

// ScopeHierarchy says which narrow scopes a broad one includes (RS-14). They may chain.
type ScopeHierarchy map[string][]string

// Expand returns scopes and all that they imply. It does not change scopes.
func (m ScopeHierarchy) Expand(scopes []string) []string {
	all := slices.Clone(scopes)
	for i := 0; i < len(all); i++ { // all grows while it is walked, so chains are followed to their end
		all = mergeUnique(all, m[all[i]])
	}
	return all
}

// expand returns id with all scopes that its own imply. It leaves id alone.
func (m ScopeHierarchy) expand(id *providers.Identity) *providers.Identity {
	if len(m) == 0 {
		return id
	}
	return id.WithScopes(m.Expand(id.Scopes))
}

// mergeUnique returns a and what b has besides. It does not change a, and is a if there is nothing to add.
func mergeUnique(a, b []string) []string {
	out := slices.Clip(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
