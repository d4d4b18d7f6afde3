package configs

import "gatehouse/providers"

// runName is the name of the upstream of `gatehouse run`.
const runName = "main"

// Run is one upstream that is served without a file: all its tools, to callers with the scope mcp:use. It has a
// command or a URL.
type Run struct {
	Command []string
	URL     string
}

const (
	runOrigin     = "default of gatehouse run"
	runLineOrigin = "command line of gatehouse run"
)

// defaults are what Run sets unless another source does: for every kind of provider, and for the local issuer, which
// applies without another provider. The demo tools, their scopes and their descriptions are not among them.
func (r Run) defaults() []layer {
	spell := func(key string) string { return key }
	all, local := newLayer(false, spell), newLayer(false, spell)
	all.set("scopes.required", []any{"mcp:use"}, runOrigin)
	all.set("scopes.descriptions", []any{"mcp:use=Use the tools of this server"}, runOrigin)
	// Once tools have scopes of their own, clients still see them, and a call starts another sign-in.
	all.set("tools.show_all", true, runOrigin)
	all.set(r.key("tools"), []any{"*"}, runOrigin)
	all.set(r.key("prefix"), "", runOrigin)

	local.implicit, local.onlyFor = true, "local"
	local.set(kindKey, local.onlyFor, runOrigin)
	// As in the built-in profile: clients register, because the issuer may have no internet access, and development
	// tools run in a browser.
	local.set("provider.client_documents", false, runOrigin)
	local.set("server.allowed_origins", []any{"http://localhost:*", "http://127.0.0.1:*"}, runOrigin)
	return []layer{all, local}
}

// target is what no other source may override.
func (r Run) target() layer {
	l := newLayer(false, func(key string) string { return key })
	if r.URL != "" {
		l.set(r.key("url"), r.URL, runLineOrigin)
	}
	if len(r.Command) > 0 {
		command := make([]any, len(r.Command))
		for i, arg := range r.Command {
			command[i] = arg
		}
		l.set(r.key("command"), command, runLineOrigin)
	}
	return l
}

func (Run) key(name string) string { return upstreamPrefix + runName + "." + name }

// validateRun reports settings that would let others use the tools of this computer: with the local issuer, anyone who
// reaches the server is anyone, and a program or a page needs no click with auto_approve.
func (l *loader) validateRun(config *Config) {
	if _, isEmbedded := config.Provider.(providers.Embedded); !isEmbedded {
		return
	}
	report := l.report("provider")
	if l.merged.Bool("provider.auto_approve") {
		report(providers.Problem{Key: "auto_approve", Code: providers.CodeNotAllowed,
			Reason: "every program on this computer could use the tools without a sign-in",
			Fix:    "remove it; for scripts, write a profile and use `gatehouse serve`"})
	}
	if l.merged.Bool("provider.dangerously_allow_public_resource") {
		report(providers.Problem{Key: "dangerously_allow_public_resource", Code: providers.CodeNotAllowed,
			Reason: "other computers could use the tools of this one, as anyone",
			Fix:    "remove it, or configure a real provider"})
	}
}
