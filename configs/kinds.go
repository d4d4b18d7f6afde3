package configs

import (
	"gatehouse/providers"
	"gatehouse/providers/local"
	"gatehouse/providers/oidc"
	"gatehouse/providers/scalekit"
)

// Kind is one value of provider.kind.
type Kind struct {
	// Name is what configuration says.
	Name string
	// Summary is one line for the documentation and --help.
	Summary string
	// Defaults returns the kind's settings before anything was configured.
	Defaults func() providers.Settings
}

// Kinds is the table of all kinds. To add one, write its folder and add its line.
func Kinds() []Kind {
	return []Kind{
		{"local", "a fake issuer inside this binary, for demos and tests: no account anywhere", func() providers.Settings { return local.Defaults() }},
		{"oidc", "any OpenID provider or OAuth 2.0 authorization server: JWTs by its public keys, opaque tokens by introspection", func() providers.Settings { return oidc.Defaults() }},
		{"scalekit", "an MCP server registered at Scalekit; no secret is needed", func() providers.Settings { return scalekit.Defaults() }},
	}
}

// KindNamed returns the kind with that name.
func KindNamed(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}
