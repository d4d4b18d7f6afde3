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
		all = providers.MergeScopes(all, m[all[i]])
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
