package token

import (
	"slices"
	"strings"

	"gatehouse/providers"
)

// ScopeMap translates between the provider's scopes and local ones, for providers that choose the names
// themselves: with api://demo/mcp.use and mcp.use both mapped to mcp:use, a token with either holds mcp:use,
// and clients are told to request the first. Scopes that it does not contain have the same name on both
// sides. The zero value changes nothing.
type ScopeMap struct {
	toLocal    map[string][]string
	toProvider map[string]string
	// preferred are the provider's names that clients request, by the local scopes that they map to (see
	// [scopeSet]): of several names with the same meaning, the first.
	preferred map[string]string
}

// renames reports whether any scope has another name at the provider.
func (m ScopeMap) renames() bool { return len(m.toLocal) > 0 }

// ParseScopeMap parses entries of the form provider=local. A scope may contain "=": the last one separates.
// It returns the invalid entries.
func ParseScopeMap(entries []string) (m ScopeMap, invalid []string) {
	m = ScopeMap{toLocal: map[string][]string{}, toProvider: map[string]string{}, preferred: map[string]string{}}
	var order []string
	for _, entry := range entries {
		i := strings.LastIndexByte(entry, '=')
		if i < 0 || !providers.IsScope(entry[:i]) || !providers.IsScope(entry[i+1:]) {
			invalid = append(invalid, entry)
			continue
		}
		remote, local := entry[:i], entry[i+1:]
		if _, known := m.toLocal[remote]; !known {
			order = append(order, remote)
		}
		m.toLocal[remote] = append(m.toLocal[remote], local)
		if _, known := m.toProvider[local]; !known {
			m.toProvider[local] = remote
		}
	}
	for _, remote := range order {
		set := scopeSet(m.toLocal[remote])
		if _, known := m.preferred[set]; !known {
			m.preferred[set] = remote
		}
	}
	return m, invalid
}

// scopeSet is a set of scopes as a map key.
func scopeSet(scopes []string) string {
	sorted := slices.Sorted(slices.Values(scopes))
	return strings.Join(slices.Compact(sorted), " ")
}

// readScope returns the local scopes for one scope of a token, and the name under which clients request it:
// the first in provider.scope_map with the same meaning. Microsoft Entra, for example, wants
// api://demo/mcp.use in the request and puts mcp.use into the token.
func (m ScopeMap) readScope(remote string) (local []string, request string) {
	if !m.renames() {
		return []string{remote}, remote
	}
	local, renamed := m.toLocal[remote]
	if !renamed {
		local = []string{remote}
	}
	if first, ok := m.preferred[scopeSet(local)]; ok {
		return local, first
	}
	return local, remote
}

// ToLocal translates scopes of a token.
func (m ScopeMap) ToLocal(remote []string) []string {
	if !m.renames() {
		return remote
	}
	var scopes []string
	for _, scope := range remote {
		if local, ok := m.toLocal[scope]; ok {
			scopes = append(scopes, local...)
		} else {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// ToProvider translates local scopes into those to request from the provider.
func (m ScopeMap) ToProvider(local []string) []string {
	if len(m.toProvider) == 0 {
		return local
	}
	scopes := slices.Clone(local)
	for i, scope := range scopes {
		if remote, ok := m.toProvider[scope]; ok {
			scopes[i] = remote
		}
	}
	return scopes
}
