package providers

import "context"

// Settings are one kind's own settings, and the factory of its provider. The fields carry koanf tags and a
// help tag; the loader in package configs fills them in, and calls Validate before any other code uses them.
// The table of kinds is in configs/kinds.go; each kind has a folder here, and package token verifies tokens
// for all of them.
type Settings interface {
	// Validate reports every invalid setting, all at once. The key is relative to the provider section.
	Validate(resource Resource, report func(Problem))

	// Open makes the provider. It does not wait for the network: a provider that is down at start must not
	// keep the server from starting. Its background work ends with ctx.
	Open(ctx context.Context, info ServerInfo) (Provider, error)
}

// Deriver lets settings supply values for other keys that are not set explicitly. The loader applies them
// before it validates.
type Deriver interface {
	// Derive sets values of settings by their full keys; from is the key that each follows from.
	Derive(set func(key, value, from string))
}

// ListenChecker is implemented by settings that restrict the address to listen on. The host is that of
// server.listen; empty means every address. The key of a problem is relative to the server section.
type ListenChecker interface {
	CheckListen(host string, report func(Problem))
}

// Describer is implemented by settings of which a provider depends on the scopes in [ServerInfo] only in its
// metadata. After a change of the scopes, the server keeps the provider with its keys and caches.
type Describer interface {
	// Describe returns provider, which Open has made, with the metadata for info.
	Describe(provider Provider, info ServerInfo) Provider
}

// Embedded is implemented by settings whose issuer runs inside the server's process. Other processes reach it
// over the network, like any other issuer.
type Embedded interface {
	Remote(resource Resource) Settings
}
