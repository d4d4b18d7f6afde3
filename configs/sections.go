package configs

import (
	"log/slog"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/server"
)

// Top are the settings outside any section.
type Top struct {
	Resource string `koanf:"resource" reload:"restart" help:"canonical URL of the MCP endpoint; its path is the mount path"`
}

// Scopes are the section "scopes".
type Scopes struct {
	Required []string `koanf:"required" reload:"live" loosens:"removed" help:"scopes that every call needs"`
	Initial  []string `koanf:"initial" reload:"live" help:"scopes of the 401 challenge and scopes_supported; scopes.required if empty"`
	Implies  []string `koanf:"implies" reload:"live" loosens:"added" help:"narrow scopes of a broad one, such as admin > read write"`
	// Descriptions is a list because names of scopes may contain the delimiter of keys.
	Descriptions []string `koanf:"descriptions" reload:"live" help:"scope=text for the consent page, such as mcp:use=Use the tools"`
}

// DescriptionOf returns Descriptions by scope. It skips invalid entries, which Validate reports.
func (s Scopes) DescriptionOf() map[string]string {
	texts := map[string]string{}
	for _, entry := range s.Descriptions {
		if scope, text, ok := ParseDescription(entry); ok {
			texts[scope] = text
		}
	}
	return texts
}

// ParseDescription parses "scope=text". The first = counts, because a text may contain more.
func ParseDescription(entry string) (scope, text string, ok bool) {
	scope, text, _ = strings.Cut(entry, "=")
	scope, text = strings.TrimSpace(scope), strings.TrimSpace(text)
	return scope, text, providers.IsScope(scope) && text != ""
}

// impliesKey is the list with entries that consist of several words.
const impliesKey = "scopes.implies"

// Implications returns Implies in the form that the server uses. It skips invalid entries, which Validate
// reports.
func (s Scopes) Implications() server.ScopeHierarchy {
	hierarchy := server.ScopeHierarchy{}
	for _, line := range s.Implies {
		if broad, narrow, ok := parseImplication(line); ok {
			hierarchy[broad] = append(hierarchy[broad], narrow...)
		}
	}
	return hierarchy
}

// parseImplication parses "broad > narrow narrow".
func parseImplication(line string) (broad string, narrow []string, ok bool) {
	left, right, found := strings.Cut(line, ">")
	broad, narrow = strings.TrimSpace(left), strings.Fields(right)
	isInvalid := func(s string) bool { return !providers.IsScope(s) }
	ok = found && !isInvalid(broad) && len(narrow) > 0 && !slices.ContainsFunc(narrow, isInvalid)
	return broad, narrow, ok
}

// Validate reports every invalid setting. The key is relative to the section.
func (s Scopes) Validate(report func(providers.Problem)) {
	for _, list := range []struct {
		key    string
		scopes []string
	}{{"required", s.Required}, {"initial", s.Initial}} {
		for _, scope := range list.scopes {
			if !providers.IsScope(scope) {
				report(providers.Problem{Key: list.key, Code: providers.CodeInvalidValue,
					Reason: quoteValue(scope) + " is not a scope (RFC 6749, section 3.3)",
					Fix:    "use printable ASCII without spaces, quotes and backslashes, for example mcp:use"})
			}
			if scope == "offline_access" {
				report(providers.Problem{Key: list.key, Code: providers.CodeNotAllowed,
					Reason: "offline_access is requested by clients, not by the server (MCP 2026-07-28, authorization)",
					Fix:    "remove it; clients that need a refresh token request it themselves"})
			}
		}
	}
	for _, line := range s.Implies {
		if _, _, ok := parseImplication(line); !ok {
			report(providers.Problem{Key: "implies", Code: providers.CodeInvalidValue,
				Reason: quoteValue(line) + " does not name a broad scope and the scopes that it includes",
				Fix:    "write the broad scope, >, and the narrow ones: gatehouse:admin > greet:read greet:write"})
		}
	}
	for _, entry := range s.Descriptions {
		if _, _, ok := ParseDescription(entry); !ok {
			report(providers.Problem{Key: "descriptions", Code: providers.CodeInvalidValue,
				Reason: quoteValue(entry) + " is not a scope and its description",
				Fix:    "write the scope, =, and the text: greet:write=Send greetings"})
		}
	}
	for _, scope := range s.Required {
		if providers.IsScope(scope) && len(s.Initial) > 0 && !slices.Contains(s.Initial, scope) {
			report(providers.Problem{Key: "initial", Code: providers.CodeConflict,
				Reason: "every call needs " + scope + ", but the first sign-in does not request it",
				Fix:    "add " + scope + " to scopes.initial, or remove it from scopes.required"})
		}
	}
}

// Log is the section "log".
type Log struct {
	Level  string `koanf:"level" reload:"live" values:"debug,info,warn,error" help:"debug, info, warn or error"`
	Format string `koanf:"format" reload:"restart" values:"text,json" help:"text or json"`
}

func logLevels() []string  { return []string{"debug", "info", "warn", "error"} }
func logFormats() []string { return []string{"text", "json"} }

// SlogLevel returns the level for log/slog. It is info for an invalid level, which Validate reports.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level))
	return level
}

// Validate reports every invalid setting. The key is relative to the section.
func (l Log) Validate(report func(providers.Problem)) {
	if levels := logLevels(); !slices.Contains(levels, l.Level) {
		report(providers.Problem{Key: "level", Code: providers.CodeUnknownValue,
			Reason: "there is no such level",
			Fix:    "use " + strings.Join(levels, ", ")})
	}
	if formats := logFormats(); !slices.Contains(formats, l.Format) {
		report(providers.Problem{Key: "format", Code: providers.CodeUnknownValue,
			Reason: "there is no such format",
			Fix:    "use " + strings.Join(formats, " or ")})
	}
}
