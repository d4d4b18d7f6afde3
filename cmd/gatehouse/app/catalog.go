package app

import (
	"slices"

	"gatehouse/mcptools"
	"gatehouse/mcptools/demo"
)

// CatalogFunc makes the catalog of a server from the settings in section "tools". [New] calls it once.
type CatalogFunc func(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog

// DefaultCatalog is the [CatalogFunc] of the gatehouse command: the tools of [mcptools.All], and the demo tools if
// tools.demo is set.
func DefaultCatalog(settings mcptools.ToolSettings, v mcptools.Stats) mcptools.Catalog {
	tools := mcptools.All(v)
	if settings.Demo {
		tools = append(tools, demo.Tools(v)...)
	}
	return mcptools.Catalog{Tools: tools}
}

// demoScopes are the scopes that only the demo tools need, whether they are offered or not.
func demoScopes() []string {
	own := DefaultCatalog(mcptools.ToolSettings{}, mcptools.Stats{}).Scopes()
	withDemo := DefaultCatalog(mcptools.ToolSettings{Demo: true}, mcptools.Stats{}).Scopes()
	return slices.DeleteFunc(withDemo, func(scope string) bool { return slices.Contains(own, scope) })
}
