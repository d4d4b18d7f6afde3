package configs

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"gatehouse/providers"
	"gatehouse/server"
)

// validate reports everything that is wrong with the values. Without a kind it validates all other sections.
func (l *loader) validate(config *Config, kind Kind, variables []variable) {
	resource, usable := l.validateResource(config)
	config.Server.Validate(l.report("server"))
	config.MCP.Validate(l.report("mcp"))
	l.validateScopes(config.Scopes)
	config.Log.Validate(l.report("log"))
	config.Audit.Validate(l.report("audit"))
	config.Denials.Validate(l.report("denials"))
	l.validateTelemetry(config, variables)
	l.validateOperator(config)
	config.Reload.Validate(l.report("reload"))
	l.validateUpstreams(config, resource, usable)
	l.validateByteLimits(config)
	if config.Provider == nil {
		return
	}
	if usable {
		config.Provider.Validate(resource, l.report("provider"))
	}
	l.validateProviderScopes(config)
	l.validatePreset(kind)
	l.validateListen(config)
	l.problems = append(l.problems, l.kinds.validateLegacy(kind, l.origins[kindKey], variables)...)
}

// scopeChecker is implemented by settings of a provider that name scopes of this server.
type scopeChecker interface {
	// CheckScopes reports scopes that are not known, unless known is nil, and whether people could have no scope at all.
	// initial is scopes.initial. The key of a problem is relative to the provider section.
	CheckScopes(known, initial []string, report func(providers.Problem))
}

func (l *loader) validateProviderScopes(config *Config) {
	checker, ok := config.Provider.(scopeChecker)
	if !ok {
		return
	}
	var known []string
	if l.knownScopes != nil {
		known = append([]string{}, l.knownScopes(config)...) // not nil, even if there are none
	}
	checker.CheckScopes(known, config.Scopes.Initial, l.report("provider"))
}

// validateResource sets config.Resource. It returns the resource to validate other settings with: if the
// value is invalid, the one that was probably meant, so that one report has all problems.
func (l *loader) validateResource(config *Config) (resource providers.Resource, usable bool) {
	report, text := l.report(""), l.merged.String("resource")
	resource, err := providers.ParseResource(text)
	if err != nil {
		suggested := suggestResource(text)
		fix := "write the URL that clients will dial, such as https://mcp.example.com/mcp"
		if suggested != "" {
			fix = "did you mean " + suggested + "?"
		}
		report(providers.Problem{Key: "resource", Code: providers.CodeInvalidValue, Reason: err.Error(), Fix: fix})
		resource, err = providers.ParseResource(suggested)
		return resource, err == nil
	}
	config.Resource = resource
	if server.ReservedPath(resource.Path()) {
		report(providers.Problem{Key: "resource", Code: providers.CodeNotAllowed,
			Reason: "the server itself answers at " + resource.Path(),
			Fix:    "choose another path: " + resource.Origin() + "/mcp"})
	}
	return resource, true
}

// validateScopes leaves out initial scopes that are derived: a problem would be reported twice.
func (l *loader) validateScopes(scopes Scopes) {
	if strings.HasPrefix(l.origins["scopes.initial"], derivedFrom) {
		scopes.Initial = nil
	}
	scopes.Validate(l.report("scopes"))
}

// validateByteLimits reports a body size that a caller could never use.
func (l *loader) validateByteLimits(config *Config) {
	most := config.MCP.MaxBytesPerUser
	if most > 0 && config.Server.MaxBodyBytes > most {
		l.report("server")(providers.Problem{Key: "max_body_bytes", Code: providers.CodeConflict,
			Reason: fmt.Sprintf("it exceeds mcp.max_bytes_per_user, which is %d: such a body would be refused", most),
			Fix:    fmt.Sprintf("use at most %d, or raise mcp.max_bytes_per_user", most)})
	}
}

// validateListen reports an address that the provider does not allow. An invalid address is reported already.
func (l *loader) validateListen(config *Config) {
	checker, ok := config.Provider.(providers.ListenChecker)
	host, _, err := net.SplitHostPort(config.Server.Listen)
	if ok && err == nil {
		checker.CheckListen(host, l.report("server"))
	}
}

// suggestResource adds a scheme to s, or removes what a resource must not have. It returns "" if the result
// is not a resource either.
func suggestResource(s string) string {
	if s != "" && !strings.Contains(s, "://") {
		s = "https://" + s
		if u, err := url.Parse(s); err == nil && providers.IsLoopback(u.Hostname()) {
			u.Scheme = "http"
			s = u.String()
		}
	}
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	u.User, u.RawPath, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", "", false, "", ""
	u = u.JoinPath() // removes dot segments and double slashes
	u.Host = strings.TrimSuffix(u.Host, providers.DefaultPort(u.Scheme))
	if u.Scheme == "http" && !providers.IsLoopback(u.Hostname()) {
		u.Scheme = "https"
	}
	suggested, err := providers.ParseResource(u.String())
	if err != nil {
		return ""
	}
	return suggested.String()
}
