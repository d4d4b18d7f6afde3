package doctor

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

const (
	settingsCheck = "config.settings"
	validConfig   = "the configuration is valid"
)

// addConfigChecks adds the checks that need no network.
func (e *examination) addConfigChecks() {
	e.checks.add(check{name: settingsCheck, expected: validConfig, run: e.settings})
	for _, note := range e.Settings.Notes {
		e.checks.add(check{
			name: "config.note", expected: "nothing in the configuration needs attention",
			run: func(context.Context) diagnostics.Outcome {
				return diagnostics.Warning(note,
					"none if this is intended; `gatehouse config` shows the origin of each value")
			},
		})
	}
	e.checks.add(check{
		name: "config.port", expected: "every client connects to the port of resource", run: e.port,
	})
	e.addSecretFileChecks()
	e.addDenialsCheck()
	if len(e.diagnosis.DefaultScopes) > 0 {
		e.checks.add(check{
			name: "config.default_scopes", expected: "provider.default_scopes has every scope that a call can need",
			run: e.defaultScopes,
		})
	}
}

func (e *examination) settings(context.Context) diagnostics.Outcome {
	changed := 0
	for _, v := range e.Settings.Effective {
		if v.Origin != "default" {
			changed++
		}
	}
	return diagnostics.OK(fmt.Sprintf("%s, for %s; %d settings, %d not by default",
		e.Settings.Kind, e.Settings.Resource, len(e.Settings.Effective), changed))
}

// defaultScopes warns of tools that a token without a scope claim never opens. A provider whose tokens have
// no such claim has no scopes to request either, so a client cannot sign in for more.
func (e *examination) defaultScopes(context.Context) diagnostics.Outcome {
	granted := e.Settings.Scopes.Implications().Expand(e.diagnosis.DefaultScopes)
	missing := func(needed []string) string { return strings.Join(providers.MissingScopes(granted, needed), " ") }
	const (
		fix = "add it to provider.default_scopes if every user of the provider may have it, " +
			"or have the provider put scopes into its tokens"
		noHelp = ", and no sign-in can help (scope_unobtainable)"
	)
	if scopes := missing(e.Settings.Scopes.Required); scopes != "" {
		return diagnostics.Warning("it lacks "+providers.Quote(scopes)+" of scopes.required: "+
			"every call with a token without a scope claim is refused"+noHelp, fix)
	}
	if scopes := missing(e.ToolScopes); scopes != "" {
		return diagnostics.Warning("it lacks "+providers.Quote(scopes)+": "+
			"with a token without a scope claim, tools that need it are refused"+noHelp, fix)
	}
	return diagnostics.OK("a token without a scope claim opens every tool")
}

// port warns of ports that some clients refuse: Claude Desktop connects to 443 only, and its error message
// does not mention the port.
func (e *examination) port(context.Context) diagnostics.Outcome {
	u, err := url.Parse(e.Settings.Resource.Origin())
	if err != nil || u.Scheme != "https" || u.Port() == "" { // a resource never contains the default port
		return diagnostics.OK("no client is known to refuse it")
	}
	return diagnostics.Warning(u.Port()+"; Claude Desktop and claude.ai connect to 443 only",
		"if these clients are to be used, put the server behind port 443 (a proxy, or a port mapping) and "+
			"remove :"+u.Port()+" from resource")
}

// Refused returns the results for an invalid configuration: each problem is a failure, and nothing else can be
// checked.
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
		results = append(results, Result{
			Name: settingsCheck, Subject: strings.TrimSpace(p.Key), Verdict: diagnostics.VerdictFailed,
			Expected: validConfig, Found: found, Fix: p.Fix,
		})
	}
	return results
}
