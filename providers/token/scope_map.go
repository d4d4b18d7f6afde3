package token

import (
	"slices"
	"strings"

	"gatehouse/providers"
)

// ScopeMap translates between a provider's scopes and ours, for providers that choose the names themselves: with
// api://demo/mcp.use and mcp.use both called mcp:use here, a token with either holds mcp:use, and clients are told to ask
// for the first. Scopes that it does not mention are the same on both sides. The zero value changes nothing.
type ScopeMap struct {
	byTheirs map[string][]string
	byOurs   map[string]string
	// first are the names of the provider that come first among those that mean the same of our scopes, by
	// these scopes (see [meaning]). Clients ask for that name; tokens may have any of them.
	first map[string]string
}

// renames reports whether any scope has another name at the provider than here.
func (n ScopeMap) renames() bool { return len(n.byTheirs) > 0 }

// ParseScopeMap reads entries of the form theirs=ours. A scope may contain "=": the last one counts.
func ParseScopeMap(entries []string) (names ScopeMap, wrong []string) {
	names = ScopeMap{byTheirs: map[string][]string{}, byOurs: map[string]string{}, first: map[string]string{}}
	var order []string
	for _, entry := range entries {
		i := strings.LastIndexByte(entry, '=')
		if i < 0 || !providers.IsScope(entry[:i]) || !providers.IsScope(entry[i+1:]) {
			wrong = append(wrong, entry)
			continue
		}
		theirs, ours := entry[:i], entry[i+1:]
		if _, known := names.byTheirs[theirs]; !known {
			order = append(order, theirs)
		}
		names.byTheirs[theirs] = append(names.byTheirs[theirs], ours)
		if _, twice := names.byOurs[ours]; !twice {
			names.byOurs[ours] = theirs
		}
	}
	for _, theirs := range order {
		key := meaning(names.byTheirs[theirs])
		if _, taken := names.first[key]; !taken {
			names.first[key] = theirs
		}
	}
	return names, wrong
}

// meaning is a set of our scopes as one string.
func meaning(ours []string) string {
	sorted := slices.Sorted(slices.Values(ours))
	return strings.Join(slices.Compact(sorted), " ")
}

// read returns our scopes that one of the provider's means in a token, and the name under which clients ask
// the provider for it: the first in provider.scope_map that means the same. Entra, for example, wants
// api://demo/mcp.use in the request and puts mcp.use into the token.
func (n ScopeMap) read(theirs string) (ours []string, request string) {
	if !n.renames() {
		return []string{theirs}, theirs
	}
	ours, renamed := n.byTheirs[theirs]
	if !renamed {
		ours = []string{theirs}
	}
	if first, ok := n.first[meaning(ours)]; ok {
		return ours, first
	}
	return ours, theirs
}

// ToLocal translates scopes of a token.
func (n ScopeMap) ToLocal(theirs []string) []string {
	if len(n.byTheirs) == 0 {
		return theirs
	}
	var scopes []string
	for _, scope := range theirs {
		if ours, ok := n.byTheirs[scope]; ok {
			scopes = append(scopes, ours...)
		} else {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// ToProvider translates our scopes into those to ask the provider for.
func (n ScopeMap) ToProvider(ours []string) []string {
	if len(n.byOurs) == 0 {
		return ours
	}
	scopes := slices.Clone(ours)
	for i, scope := range scopes {
		if theirs, ok := n.byOurs[scope]; ok {
			scopes[i] = theirs
		}
	}
	return scopes
}
