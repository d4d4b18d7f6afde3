package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// tools shows what each line of the setting matches. Tools without a line are a warning, because a new version of the
// upstream may have added one that callers miss.
func (u *upstreamChecks) tools(context.Context) diagnostics.Outcome {
	s, rules := u.settings, u.settings.Rules()
	offered, refused := u.found.Offered(s)
	matches, unnamed := make([][]string, len(rules)), []string(nil)
	used := map[string]bool{}
	for _, d := range u.found.Definitions {
		i := slices.IndexFunc(rules, func(r upstream.ToolRule) bool { return r.Match(d.Name) })
		if i < 0 {
			unnamed = append(unnamed, providers.Quote(d.Name))
			continue
		}
		matches[i] = append(matches[i], providers.Quote(d.Name))
		used[rules[i].MatchedBy(d.Name)] = true
	}
	var lines, problems, unmatched []string
	for i, rule := range rules {
		lines = append(lines, fmt.Sprintf("line %d matches %s", i+1, list(matches[i])))
		for _, pattern := range rule.Patterns {
			if !used[pattern] {
				unmatched = append(unmatched, providers.Quote(pattern))
			}
		}
	}
	if len(unmatched) > 0 {
		problems = append(problems, list(unmatched)+" is the first match of no tool")
	}
	if len(unnamed) > 0 {
		problems = append(problems, "no line names "+list(unnamed))
	}
	for _, r := range refused {
		if _, err := s.ToolName(r.Tool); err == nil { // bad names are another check
			problems = append(problems, providers.Quote(r.Tool)+" cannot be offered: "+r.Reason)
		}
	}
	found := fmt.Sprintf("%d tools, %d offered; %s", len(u.found.Definitions), len(offered), strings.Join(lines, "; "))
	if len(problems) > 0 {
		return diagnostics.Warning(found+"; "+limited(problems, "; "), "fix the patterns in "+u.setting("tools")+
			"; a tool that no line names is not offered: add it if callers should have it")
	}
	return diagnostics.OK(found)
}

// names fails for names that two tools have, because the server does not start with them.
func (u *upstreamChecks) names(context.Context) diagnostics.Outcome {
	owners := map[string]string{}
	for _, name := range u.OwnTools {
		owners[name] = "this server"
	}
	for _, other := range u.upstreams {
		if other != u {
			for _, name := range other.offeredNames() {
				owners[name] = "upstreams." + other.settings.Name
			}
		}
	}
	var taken, bad []string
	for _, name := range u.offeredNames() {
		if owner := owners[name]; owner != "" {
			taken = append(taken, name+" (of "+owner+")")
		}
	}
	if len(taken) > 0 {
		return diagnostics.Failed("another tool has the name "+list(taken), "set another "+u.setting("prefix")+
			", or leave the tool out in "+u.setting("tools"))
	}
	for _, d := range u.found.Definitions {
		if _, asked := u.settings.RuleFor(d.Name); !asked {
			continue
		}
		if _, err := u.settings.ToolName(d.Name); err != nil {
			bad = append(bad, providers.Quote(d.Name)+": "+err.Error())
		}
	}
	if len(bad) > 0 {
		return diagnostics.Warning(limited(bad, "; "), "they are not offered; set a shorter "+u.setting("prefix")+
			", or name the tools otherwise at the upstream")
	}
	return diagnostics.OK("no two tools have one name")
}

// offeredNames returns the names of the tools as the server offers them: those in the pins, or else those that the
// upstream lists.
func (u *upstreamChecks) offeredNames() (names []string) {
	source := u.result()
	if u.settings.Pinned != nil {
		source = &upstream.Found{Definitions: u.settings.Pinned.Definitions()}
	}
	if source == nil { // it does not answer
		return nil
	}
	offered, _ := source.Offered(u.settings)
	for _, d := range offered {
		if name, err := u.settings.ToolName(d.Name); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// pins compares the pinned definitions with those of the upstream.
func (u *upstreamChecks) pins(context.Context) diagnostics.Outcome {
	digests := map[string]string{}
	for _, d := range u.found.Definitions {
		digests[d.Name] = d.SHA256
	}
	var changed, gone, added []string
	for _, pin := range u.settings.Pinned.Tools {
		if _, asked := u.settings.RuleFor(pin.Name()); !asked {
			continue
		}
		switch digest, exists := digests[pin.Name()]; {
		case !exists:
			gone = append(gone, providers.Quote(pin.Name()))
		case digest != pin.SHA256:
			changed = append(changed, providers.Quote(pin.Name()))
		}
	}
	offered, _ := u.found.Offered(u.settings)
	for _, d := range offered {
		if _, isPinned := u.settings.Pinned.Tool(d.Name); !isPinned {
			added = append(added, providers.Quote(d.Name))
		}
	}
	var parts []string
	for what, tools := range map[string][]string{"changed": changed, "gone": gone, "not pinned": added} {
		if len(tools) > 0 {
			parts = append(parts, what+": "+list(tools))
		}
	}
	slices.Sort(parts)
	fix := "`gatehouse upstream pin " + u.settings.Name + " --check` shows the difference; review it, and write the " +
		"file without --check"
	switch {
	case len(changed)+len(gone) > 0:
		return diagnostics.Failed(strings.Join(parts, "; ")+"; calls of what changed or is gone are refused", fix)
	case len(added) > 0:
		return diagnostics.Warning(strings.Join(parts, "; ")+"; what is not pinned is not offered", fix)
	}
	return diagnostics.OK(fmt.Sprintf("%d tools are as pinned", len(u.settings.Pinned.Tools)))
}
