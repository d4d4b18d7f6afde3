package app

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
)

// NoToolsHint describes how to add tools to a server that offers none.
func NoToolsHint(cfg *configs.Config) string {
	if len(cfg.Upstreams) > 0 {
		return "no line of upstreams." + cfg.Upstreams[0].Name + ".tools names a tool that the upstream has and that can " +
			"be offered; `gatehouse upstream list` shows them"
	}
	return `add one in mcptools/tools.go (README, "Add a tool"), or set tools.demo for the demo tools`
}

// Notes returns what an operator should know about a valid configuration and the catalog that is served with it.
func Notes(cfg *configs.Config, catalog mcptools.Catalog) []string {
	var notes []string
	if !offersTools(catalog) && len(cfg.Upstreams) == 0 {
		notes = append(notes, "the server offers no tools: "+NoToolsHint(cfg))
	}
	if len(cfg.Scopes.Required) == 0 {
		notes = append(notes, "scopes.required is empty: every token of the provider for this resource may call the "+
			"tools that need no scope of their own; set it, for example to mcp:use, to accept only tokens "+
			"that have this scope")
	}
	if cfg.Operator.IsOn() && !cfg.Operator.IsLoopback() {
		notes = append(notes, "operator.listen is "+cfg.Operator.Listen+", which other computers may reach, and needs no "+
			"token: let only operators and Prometheus reach it")
	}
	if names := unusedDemoScopes(cfg, catalog); len(names) > 0 {
		notes = append(notes, "scopes of the demo tools are set, but tools.demo is off and no other tool needs them: "+
			strings.Join(names, ", ")+"; remove them, because a provider that does not know a scope may refuse the "+
			"whole sign-in, or set tools.demo")
	}
	return notes
}

// unusedDemoScopes returns the scopes of the demo tools that a setting names although no offered tool needs them, each
// with the setting and its origin. Several settings name scopes, also those of the provider, in lists and in mappings.
func unusedDemoScopes(cfg *configs.Config, catalog mcptools.Catalog) []string {
	needed := providers.MergeScopes(catalog.Scopes(), UpstreamScopes(cfg))
	unused := slices.DeleteFunc(demoScopes(), func(scope string) bool { return slices.Contains(needed, scope) })
	var names []string
	for _, v := range cfg.Effective {
		if !v.IsExplicit() || v.Key == "scopes.descriptions" { // a description requests nothing
			continue
		}
		words := strings.FieldsFunc(v.Value, func(r rune) bool { return strings.ContainsRune(", >=", r) })
		for _, scope := range unused {
			if slices.Contains(words, scope) {
				names = append(names, fmt.Sprintf("%s (%s, %s)", scope, v.Key, v.Origin))
			}
		}
	}
	return names
}
