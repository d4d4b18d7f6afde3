package providers

import "context"

// Settings are one kind's own settings, and the factory of its provider. The fields carry koanf tags and a
// help tag; the loader in package configs fills them in, and calls Validate before anybody else sees them.
type Settings interface {
	// Validate reports every setting that cannot be right, all at once. The key is relative to the provider
	// section.
	Validate(resource Resource, report func(key, reason, fix string))

	// Open makes the provider. It does not wait for the network: a provider that is down at start must not keep
	// the server from starting. What runs in the background ends with ctx.
	Open(ctx context.Context, info ServerInfo) (Provider, error)
}

// Deriver is implemented by settings from which others follow. The loader applies what it says where nobody
// said anything, before the check.
type Deriver interface {
	// Derive says values of settings by their full names, and by which setting each was said.
	Derive(say func(key, value, from string))
}

// ListenChecker is implemented by settings that do not go with every address to listen on. The host is that
// of server.listen; empty means every address.
type ListenChecker interface {
	CheckListen(host string, report func(reason, fix string))
}

// Embedded is implemented by settings whose issuer lives in the server's own process. Another process sees it
// over the network, like any other issuer.
type Embedded interface {
	Remote(resource Resource) Settings
}
