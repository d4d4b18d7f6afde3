package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	brokers "gatehouse/providers/broker"
)

const brokerHelp = `Run the authorization server of kind broker alone, for MCP servers that other programs run. It takes
the profile of serve: its issuer is the origin of resource, and tokens are for resource or one of provider.resources.
The scopes are those that the settings scopes.* and provider.scope_rules name. Settings of tools, upstreams and MCP are
accepted and not used.

The MCP servers accept its tokens with provider.kind oidc and provider.issuer set to the origin of resource.
"gatehouse broker sign-ins" lists and ends the sign-ins in the store, and "gatehouse broker rotate-keys" replaces the
key that signs tokens.

`

func brokerCommands() []command {
	return []command{{name: "sign-ins", summary: "list or end the sign-ins in the store", subcommands: []command{
		{name: "list", summary: "list the sign-ins in the store", run: signInsList},
		{name: "end", summary: "end sign-ins of one person, client or id", run: signInsEnd},
	}}, {name: "rotate-keys", summary: "replace the key that signs tokens", run: rotateKeys}}
}

func broker(ctx context.Context, args []string, c console) int {
	flags := newFlags("broker", brokerHelp+settingsHelp, c)
	settings := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	return c.serve(ctx, settings(), serving{
		prepare: func(cfg *configs.Config) error {
			_, err := brokerSettings(cfg)
			cfg.Upstreams = nil
			return err
		},
		announce: func(cfg *configs.Config) { brokerBanner(c.stdout, cfg) },
		options:  []app.Option{app.AuthorizationServerAlone()},
	})
}

// errNoBroker completes a text that names another kind.
var errNoBroker = errors.New("and this command needs broker")

// brokerSettings returns the settings of the kind broker. The error is that of another kind.
func brokerSettings(cfg *configs.Config) (*brokers.Settings, error) {
	s, ok := cfg.Provider.(*brokers.Settings)
	if !ok {
		return nil, fmt.Errorf("provider.kind is %s, %w", cfg.Kind, errNoBroker)
	}
	return s, nil
}

// brokerBanner prints what clients and MCP servers need.
func brokerBanner(w io.Writer, cfg *configs.Config) {
	s := cfg.Provider.(*brokers.Settings) // checked
	origin := cfg.Resource.Origin()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nGatehouse %s, authorization server\n\n", app.Version())
	fmt.Fprintf(t, "  Issuer\t%s\n", origin)
	fmt.Fprintf(t, "  Metadata\t%s/.well-known/oauth-authorization-server\n", origin)
	fmt.Fprintf(t, "  Sign-in\tat %s, with the redirect URI %s\n", s.Issuer, brokers.CallbackURL(cfg.Resource))
	fmt.Fprintf(t, "  Resources\t%s\n", strings.Join(slices.Concat([]string{cfg.Resource.String()}, s.Resources), ", "))
	fmt.Fprintf(t, "  Store\t%s\n\n", s.Store)
	t.Flush()
	for _, note := range cfg.Notes {
		fmt.Fprintf(w, "  Note: %s\n", note)
	}
}
