package providers

import "context"

// Settings are one kind's own settings, and the factory of its provider. The fields carry koanf tags and a help tag;
// the loader in package configs fills them in, and calls Check before anybody else sees them.
type Settings interface {
	// Check reports every setting that cannot be right, all at once. The key is relative to the provider section.
	Check(resource Resource, report func(key, reason, wayOut string))

	// Open makes the provider. It does not wait for the network: a provider that is down at start must not keep the
	// server from starting. What runs in the background ends with ctx.
	Open(ctx context.Context, site Site) (Provider, error)
}

// Deriver is implemented by settings from which others follow. The loader applies what it says where nobody said anything,
// before the check.
type Deriver interface {
	// Derive says values of settings by their full names, and by which setting each was said.
	Derive(say func(key, value, from string))
}

// ListenChecker is implemented by settings that do not go with every address to listen on. The host is that of
// server.listen; empty means every address.
type ListenChecker interface {
	CheckListen(host string, report func(reason, wayOut string))
}

// Embedded is implemented by settings whose issuer lives in the server's own process. Another process sees it over the
// network, like any other issuer.
type Embedded interface {
	FromOutside(resource Resource) Settings
}

// Kind is one value of provider.kind.
type Kind struct {
	// Name is what configuration says.
	Name string
	// Summary is one line for the documentation and --help.
	Summary string
	// Defaults returns the kind's settings before anything was configured.
	Defaults func() Settings
}

// Kinds is the table of all kinds. To add one, write its file and add its line.
func Kinds() []Kind {
	return []Kind{
		{"local", "a fake issuer inside this binary, for demos and tests: no account anywhere", func() Settings { return defaultLocal() }},
		{"oidc", "any OpenID provider or OAuth 2.0 authorization server: JWTs by its public keys, opaque tokens by introspection", func() Settings { return defaultOIDC() }},
		{"scalekit", "an MCP server registered at Scalekit; no secret is needed", func() Settings { return defaultScalekit() }},
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
