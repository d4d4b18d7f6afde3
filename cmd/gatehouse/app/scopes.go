package app

import (
	"maps"
	"slices"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
)

// knownScopes are all scopes that a tool or setting of this server names. The local issuer grants no others.
func knownScopes(cfg *configs.Config, catalog mcptools.Catalog) []string {
	known := providers.MergeScopes(nil, cfg.Scopes.Required, cfg.Scopes.Initial, catalog.Scopes(),
		UpstreamScopes(cfg))
	implications := cfg.Scopes.Implications()
	for _, broad := range slices.Sorted(maps.Keys(implications)) {
		known = providers.MergeScopes(known, []string{broad}, implications[broad])
	}
	return known
}

// toolScopes are the scopes of the catalog and of the demo tools. Those of the demo tools are included even
// if they are not offered: provider.scopes_advertised may name them, and a challenge must not request scopes
// that no operation needs.
func toolScopes(catalog mcptools.Catalog) []string {
	return providers.MergeScopes(catalog.Scopes(), demoScopes())
}
