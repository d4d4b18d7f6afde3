package server

import (
	"slices"

	"gatehouse/providers"
)

// ScopeHierarchy maps a broad scope to the narrower scopes that it includes. Entries may chain.
type ScopeHierarchy map[string][]string

// Expand returns scopes and every scope that they include. It does not modify scopes.
func (m ScopeHierarchy) Expand(scopes []string) []string {
	all := slices.Clone(scopes)
	for i := 0; i < len(all); i++ { // all grows during the loop, so that chains are followed
		all = mergeUnique(all, m[all[i]])
	}
	return all
}

// expand returns an identity with every scope that id's scopes include. It does not modify id.
func (m ScopeHierarchy) expand(id *providers.Identity) *providers.Identity {
	if len(m) == 0 {
		return id
	}
	return id.WithScopes(m.Expand(id.Scopes))
}

// mergeUnique returns a followed by the elements of b that are not in a. It does not modify a, and returns a
// itself if there is nothing to add.
func mergeUnique(a, b []string) []string {
	out := slices.Clip(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
