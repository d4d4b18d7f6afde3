package house

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/demo"
)

// AddATool says how a server without tools gets one.
const AddATool = `add one in mcptools/tools.go (README, "Add a tool"), or set tools.demo for the demo tools`

// Notes are what is worth knowing of a configuration and the tools that are offered with it, and no reason to refuse.
func Notes(cfg *configs.Config, catalog mcptools.Catalog) []string {
	var notes []string
	if len(catalog.Tools) == 0 {
		notes = append(notes, "the server offers no tools: "+AddATool)
	}
	if len(cfg.Scopes.Required) == 0 {
		notes = append(notes, "scopes.required is empty: every token of the provider for this resource may call the tools that need no "+
			"scope of their own; set it, for example to mcp:use, to admit only tokens that were issued for such calls")
	}
	if names := idleDemoScopes(cfg, catalog); len(names) > 0 {
		notes = append(notes, "scopes of the demo tools are set, but tools.demo is off and no other tool needs them: "+strings.Join(names, ", ")+
			"; take them out, because a provider that does not know a scope may refuse the whole sign-in, or set tools.demo")
	}
	return notes
}

// idleDemoScopes returns the scopes of the demo tools that a setting names although no tool that is offered needs them,
// each with the setting and its origin. Scopes are in several settings, also of the provider, in lists and in mappings.
func idleDemoScopes(cfg *configs.Config, catalog mcptools.Catalog) []string {
	needed := catalog.Scopes()
	idle := slices.DeleteFunc(demo.Scopes(), func(scope string) bool { return slices.Contains(needed, scope) })
	var names []string
	for _, v := range cfg.Effective {
		if !v.IsExplicit() {
			continue
		}
		words := strings.FieldsFunc(v.Value, func(r rune) bool { return strings.ContainsRune(", >=", r) })
		for _, scope := range idle {
			if slices.Contains(words, scope) {
				names = append(names, fmt.Sprintf("%s (%s, %s)", scope, v.Key, v.Origin))
			}
		}
	}
	return names
}
