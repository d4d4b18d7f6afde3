package providers

import (
	"slices"
	"strings"
)

// ScopeMapper is implemented by a provider that has other names for scopes than this server. Challenges name
// scopes as clients must request them.
type ScopeMapper interface {
	// ProviderScopes returns the provider's names of local scopes, in the same order.
	ProviderScopes(local []string) []string
}

// ScopeReader is implemented by a provider that may have other names for scopes than this server, or that
// needs scopes which no rule of this server mentions. A challenge for more scopes includes those of the
// presented token, so that the client does not lose them.
type ScopeReader interface {
	// ReadScope returns the local scopes for one scope of a token, and the name under which clients request it.
	ReadScope(inToken string) (local []string, request string)
	// AdvertisedScopes returns provider.scopes_advertised, under the provider's names; nil if it is not set.
	AdvertisedScopes() []string
}

// IsScope reports whether s is one scope: printable ASCII without blanks, quotes and backslashes (RFC 6749,
// section 3.3).
func IsScope(s string) bool {
	return s != "" &&
		strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}

// MissingScopes returns the elements of needed that are not in held, in the order of needed.
func MissingScopes(held, needed []string) []string {
	var missing []string
	for _, s := range needed {
		if !slices.Contains(held, s) {
			missing = append(missing, s)
		}
	}
	return missing
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
