package providers

import (
	"slices"
	"strings"
)

// ScopeSpeller is implemented by a provider that calls scopes by other names than this server does. Challenges name scopes
// as clients must ask for them.
type ScopeSpeller interface {
	// SpellScopes returns the provider's names of our scopes, in the same order.
	SpellScopes(ours []string) []string
}

// ScopeReader is implemented by a provider whose scopes may have other names than this server's, or that
// needs scopes which no rule of this server mentions. A challenge for more scopes names those that a client
// must not lose.
type ScopeReader interface {
	// ReadScope returns the scopes of this server that a scope in a token means, and the name under which
	// clients ask the provider for it.
	ReadScope(inToken string) (ours []string, request string)
	// AdvertisedScopes returns provider.scopes_advertised, under the provider's names; nil if it is not set.
	AdvertisedScopes() []string
}

// IsScope reports whether s is one scope (RFC 6749, section 3.3: printable ASCII without blanks, quotes and backslashes).
func IsScope(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}

// MergeScopes returns scopes followed by the elements of more that are not in it yet, each once. It does not modify
// scopes, and returns it as it is if there is nothing to add.
func MergeScopes(scopes []string, more ...[]string) []string {
	merged := slices.Clip(scopes)
	for _, list := range more {
		for _, s := range list {
			if !slices.Contains(merged, s) {
				merged = append(merged, s)
			}
		}
	}
	return merged
}
