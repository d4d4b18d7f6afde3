package app

import (
	"maps"
	"slices"

	"gatehouse/configs"
	"gatehouse/mcptools"
)

// knownScopes are all scopes that a rule of this server names. The local issuer grants no others.
func knownScopes(cfg *configs.Config, catalog mcptools.Catalog) []string {
	known := MergeUnique(cfg.Scopes.Required, cfg.Scopes.Initial, catalog.Scopes())
	implications := cfg.Scopes.Implications()
	for _, broad := range slices.Sorted(maps.Keys(implications)) {
		known = MergeUnique(known, []string{broad}, implications[broad])
	}
	return known
}

// InitialScopes returns the scopes that a token has after the first sign-in, including implied ones.
func InitialScopes(cfg *configs.Config) []string {
	scopes, implications := cfg.Scopes.Initial, cfg.Scopes.Implications()
	for i := 0; i < len(scopes); i++ { // scopes grows, so implications of implied scopes are followed too
		scopes = MergeUnique(scopes, implications[scopes[i]])
	}
	return scopes
}

// toolScopes are the scopes of the catalog and of the demo tools, offered or not: provider.scopes_advertised may name
// the latter, and a challenge must not request scopes that no operation needs.
func toolScopes(catalog mcptools.Catalog) []string {
	return MergeUnique(catalog.Scopes(), demoScopes())
}

// MergeUnique concatenates lists and keeps the first of equal entries.
func MergeUnique(lists ...[]string) []string {
	var out []string
	for _, s := range slices.Concat(lists...) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
