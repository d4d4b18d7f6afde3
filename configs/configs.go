// Package configs turns a profile, the environment and flags into a valid [Config]: code that has one need
// not check it again. [Load] reports everything that is wrong in one [Problems].
//
// The settings of each section live with the code that they configure; this package only lists the sections.
package configs

import (
	"fmt"
	"strings"

	"gatehouse/mcptools"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/server"
	"gatehouse/server/audit"
	"gatehouse/server/denials"
)

// Config is a valid configuration.
type Config struct {
	Resource providers.Resource
	Server   server.Settings
	MCP      mcphttp.Settings
	Tools    mcptools.ToolSettings
	// Upstreams are the sections "upstreams.NAME", sorted by name, and UpstreamKey is what they share.
	Upstreams   []upstream.Settings
	UpstreamKey upstream.KeySettings

	Scopes  Scopes
	Log     Log
	Audit   audit.Settings
	Denials denials.Settings
	// Telemetry says what is exported, and OTLP where to.
	Telemetry Telemetry
	OTLP      OTLP
	Operator  Operator
	Reload    Reload
	// Kind is the value of provider.kind, and Provider are the settings of that kind.
	Kind     string
	Provider providers.Settings

	// Effective has every key with its effective value and the origin of the value, in the order of the
	// documentation. Secrets are redacted.
	Effective []Value
	// Notes are remarks about the configuration that are no reason to refuse it.
	Notes []string

	keys  []Key             // those of the kind
	files []configFile      // the profile and .env, if they exist
	paths map[string]string // the files that secrets were read from
}

// sections returns the settings of each section. Those outside any section are not among them.
func (c *Config) sections() []section {
	all := []section{
		{"server", &c.Server}, {"mcp", &c.MCP}, {"tools", &c.Tools}, {upstreamsSection, &c.UpstreamKey},
		{"scopes", &c.Scopes}, {"log", &c.Log}, {"audit", &c.Audit}, {"denials", &c.Denials},
		{"telemetry", &c.Telemetry}, {"operator", &c.Operator}, {"reload", &c.Reload},
	}
	for i, settings := range c.Upstreams {
		all = append(all, section{upstreamPrefix + settings.Name, &c.Upstreams[i]})
	}
	if c.Provider != nil {
		all = append(all, section{"provider", c.Provider})
	}
	return all
}

// Format implements fmt.Formatter and prints Effective. Without it, a verb such as %s would print the fields
// of the provider's settings and bypass the redaction of secrets.
func (c Config) Format(f fmt.State, _ rune) {
	for _, v := range c.Effective {
		fmt.Fprintf(f, "%s=%q ", v.Key, v.Value)
	}
}

// Value is one key of the effective configuration.
type Value struct{ Key, Value, Origin string }

// Text returns the value as it is printed: in quotation marks if it has spaces, which a reader could overlook.
func (v Value) Text() string {
	if v.Value == redacted || isListType(v.Key) {
		return v.Value
	}
	return showValue(v.Value)
}

const (
	defaultOrigin = "default"
	derivedFrom   = "derived from " // followed by the name of the setting or variable
)

// IsExplicit reports whether the value was set: it is neither a default nor derived from another setting.
func (v Value) IsExplicit() bool {
	return v.Origin != defaultOrigin && !strings.HasPrefix(v.Origin, derivedFrom)
}
