// Package configs turns a profile, the environment and flags into values that are already valid. Whoever holds a [Config]
// need not check it again; what cannot be right is refused here, all of it in one report.
//
// The settings of each section live with the code that they configure; this package knows only where they stand.
package configs

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"gatehouse/mcptools"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
	"gatehouse/server"
)

// Config is a valid configuration.
type Config struct {
	Resource providers.Resource
	Server   server.Settings
	MCP      mcphttp.Settings
	Tools    mcptools.ToolSettings
	Scopes   Scopes
	Log      Log
	// Kind is the value of provider.kind, and Provider are the settings of that kind.
	Kind     string
	Provider providers.Settings

	// Effective are all keys with the value that counts and where it came from, secrets redacted, in the order of the
	// documentation.
	Effective []Value
	// Notes are what is worth knowing and no reason to refuse.
	Notes []string
}

// Format implements fmt.Formatter. A verb that fits nothing, such as %s, makes package fmt print the provider's settings
// without asking its secrets how they want to be printed.
func (c Config) Format(f fmt.State, _ rune) {
	for _, v := range c.Effective {
		fmt.Fprintf(f, "%s=%q ", v.Key, v.Value)
	}
}

// Value is one key of the effective configuration.
type Value struct{ Key, Value, Origin string }

// derivedFrom is the origin of what follows from another setting, before its name.
const derivedFrom = "derived from "

// IsChosen reports whether somebody said the value: it is neither a default, nor does it follow from another setting.
func (v Value) IsChosen() bool {
	return v.Origin != "default" && !strings.HasPrefix(v.Origin, derivedFrom)
}

// Top are the settings outside any section.
type Top struct {
	Resource string `koanf:"resource" help:"canonical URL of the MCP endpoint, as clients spell it; its path is the mount path"`
}

// Scopes are the section "scopes".
type Scopes struct {
	Required []string `koanf:"required" help:"scopes that every call needs"`
	Initial  []string `koanf:"initial" help:"scopes to ask for at first sign-in, named in the 401 challenge and in scopes_supported; the required ones if empty"`
	Implies  []string `koanf:"implies" help:"which narrow scopes a broad one includes, such as gatehouse:admin > greet:read greet:write"`
}

// Implications returns Implies in the form that the server uses.
func (s Scopes) Implications() server.ScopeHierarchy {
	implications := server.ScopeHierarchy{}
	for _, line := range s.Implies {
		broad, narrow, _ := parseImplication(line) // Check has seen it
		implications[broad] = append(implications[broad], narrow...)
	}
	return implications
}

// parseImplication reads "broad > narrow narrow".
func parseImplication(line string) (broad string, narrow []string, ok bool) {
	left, right, found := strings.Cut(line, ">")
	broad, narrow = strings.TrimSpace(left), strings.Fields(right)
	ok = found && providers.IsScope(broad) && len(narrow) > 0 && !slices.ContainsFunc(narrow, func(s string) bool { return !providers.IsScope(s) })
	return broad, narrow, ok
}

// Log is the section "log".
type Log struct {
	Level  string `koanf:"level" help:"debug, info, warn or error"`
	Format string `koanf:"format" help:"text or json"`
}

// SlogLevel returns the level for log/slog.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // Check has seen it
	return level
}

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"text", "json"}
)

// Check reports every setting that cannot be right.
func (l Log) Check(report func(key, reason, fix string)) {
	if !slices.Contains(logLevels, l.Level) {
		report("level", "there is no such level", "use "+strings.Join(logLevels, ", "))
	}
	if !slices.Contains(logFormats, l.Format) {
		report("format", "there is no such format", "use "+strings.Join(logFormats, " or "))
	}
}

// Check reports every setting that cannot be right.
func (s Scopes) Check(report func(key, reason, fix string)) {
	for _, list := range []struct {
		key    string
		scopes []string
	}{{"required", s.Required}, {"initial", s.Initial}} {
		for _, scope := range list.scopes {
			if !providers.IsScope(scope) {
				report(list.key, quoteValue(scope)+" is not a scope (RFC 6749, section 3.3)", "use printable ASCII without blanks, quotes and backslashes, for example mcp:use")
			}
			if scope == "offline_access" {
				report(list.key, "offline_access is the client's to ask for, not the server's (MCP 2026-07-28, authorization)", "remove it; clients that keep a session ask for it themselves")
			}
		}
	}
	for _, line := range s.Implies {
		if _, _, ok := parseImplication(line); !ok {
			report("implies", quoteValue(line)+" does not say which scope includes which", "write the broad scope, >, and the narrow ones: gatehouse:admin > greet:read greet:write")
		}
	}
	for _, scope := range s.Required {
		if providers.IsScope(scope) && len(s.Initial) > 0 && !slices.Contains(s.Initial, scope) {
			report("initial", "every call needs "+scope+", but the first sign-in does not ask for it", "add "+scope+" to scopes.initial, or remove it from scopes.required")
		}
	}
}
