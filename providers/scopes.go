package providers

import (
	"slices"
	"strings"
)

// ScopeNames translates between a provider's scopes and ours, for providers that choose the names themselves: with
// api://demo/mcp.use and mcp.use both called mcp:use here, a token with either holds mcp:use, and clients are told to ask
// for the first. Scopes that it does not mention are the same on both sides. The zero value changes nothing.
type ScopeNames struct {
	byTheirs map[string][]string
	byOurs   map[string]string
}

// parseScopeNames reads entries of the form theirs=ours. A scope may contain "=": the last one counts.
func parseScopeNames(entries []string) (names ScopeNames, wrong []string) {
	names = ScopeNames{byTheirs: map[string][]string{}, byOurs: map[string]string{}}
	for _, entry := range entries {
		i := strings.LastIndexByte(entry, '=')
		if i < 0 || !IsScope(entry[:i]) || !IsScope(entry[i+1:]) {
			wrong = append(wrong, entry)
			continue
		}
		theirs, ours := entry[:i], entry[i+1:]
		names.byTheirs[theirs] = append(names.byTheirs[theirs], ours)
		if _, twice := names.byOurs[ours]; !twice {
			names.byOurs[ours] = theirs
		}
	}
	return names, wrong
}

// ours translates scopes of a token.
func (n ScopeNames) ours(theirs []string) []string {
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

// theirs translates our scopes into those to ask the provider for.
func (n ScopeNames) theirs(ours []string) []string {
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

// ScopeSpeller is implemented by a provider that calls scopes by other names than this server does. Challenges name scopes
// as clients must ask for them.
type ScopeSpeller interface {
	// SpellScopes returns the provider's names of our scopes, in the same order.
	SpellScopes(ours []string) []string
}

// IsScope reports whether s is one scope (RFC 6749, section 3.3: printable ASCII without blanks, quotes and backslashes).
func IsScope(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}
