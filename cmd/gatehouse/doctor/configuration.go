package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

const settingsCheck = "config.settings"

// configuration adds the checks that ask nobody.
func (e *examination) configuration() {
	e.checks.add(check{name: settingsCheck, expected: "the configuration is valid", run: func(context.Context) diagnostics.Outcome {
		changed := 0
		for _, v := range e.Config.Effective {
			if v.Origin != "default" {
				changed++
			}
		}
		return diagnostics.OK(fmt.Sprintf("%s, for %s; %d settings, %d not by default", e.Config.Kind, e.Config.Resource, len(e.Config.Effective), changed))
	}})
	for _, note := range e.Config.Notes {
		e.checks.add(check{name: "config.note", expected: "nothing is worth a note", run: func(context.Context) diagnostics.Outcome {
			return diagnostics.Warning(note, "nothing, if it is meant; `gatehouse config` shows where each value came from")
		}})
	}
	e.checks.add(check{name: "config.port", expected: "the port of resource is one that every client dials", run: e.port})
	if len(e.diagnosis.DefaultScopes) > 0 {
		e.checks.add(check{name: "config.default_scopes", run: e.defaultScopes,
			expected: "provider.default_scopes has every scope that a call can need"})
	}
}

// defaultScopes warns of tools that a token without a scope claim never opens. A provider whose tokens have
// no such claim has no scopes to ask for either, so a client cannot sign in for more.
func (e *examination) defaultScopes(context.Context) diagnostics.Outcome {
	granted := e.Config.Scopes.Implications().Expand(e.diagnosis.DefaultScopes)
	lacking := func(needed []string) string {
		held := func(scope string) bool { return slices.Contains(granted, scope) }
		return strings.Join(slices.DeleteFunc(slices.Clone(needed), held), " ")
	}
	const (
		fix = "add it to provider.default_scopes if everybody who can sign in may have it, " +
			"or let the provider put scopes into its tokens"
		noHelp = ", and no sign-in can help (scope_unobtainable)"
	)
	if missing := lacking(e.Config.Scopes.Required); missing != "" {
		return diagnostics.Warning("it lacks "+providers.Quote(missing)+" of scopes.required: "+
			"every call with a token without a scope claim is refused"+noHelp, fix)
	}
	if missing := lacking(e.ToolScopes); missing != "" {
		return diagnostics.Warning("it lacks "+providers.Quote(missing)+": "+
			"with a token without a scope claim, tools that need it are refused"+noHelp, fix)
	}
	return diagnostics.OK("a token without a scope claim opens every tool")
}

// port warns of what only some clients refuse: Claude Desktop dials no port but 443, and its message does not say so.
func (e *examination) port(context.Context) diagnostics.Outcome {
	u, err := url.Parse(e.Config.Resource.Origin())
	if err != nil || u.Scheme != "https" || u.Port() == "" { // a resource never spells out 443
		return diagnostics.OK("every client dials it")
	}
	return diagnostics.Warning(u.Port()+"; Claude Desktop and claude.ai dial 443 only", "put the server behind port 443 (a proxy, or a port mapping) and take :"+u.Port()+" out of resource, if these clients shall use it")
}

// Refused is the examination of a configuration that cannot be right: each problem is a failure, and nothing else can be
// looked at.
func Refused(problems configs.Problems) []Result {
	results := make([]Result, 0, len(problems))
	for _, p := range problems {
		found := p.Reason
		if p.Value != "" {
			found = p.Value + ": " + found
		}
		if p.Origin != "" {
			found += " (" + p.Origin + ")"
		}
		results = append(results, Result{Name: settingsCheck, Subject: strings.TrimSpace(p.Key), Verdict: diagnostics.VerdictFailed,
			Expected: "the configuration is valid", Found: found, Fix: p.Fix})
	}
	return results
}
