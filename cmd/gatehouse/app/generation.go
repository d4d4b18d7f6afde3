package app

import (
	"context"
	"net/http"
	"slices"

	"gatehouse/configs"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
	"gatehouse/server"
)

// generation is one configuration with all that judges requests by it. It does not change: a reload makes another
// one, and each request is served by one of them.
type generation struct {
	number   uint64
	digest   string
	config   *configs.Config
	info     providers.ServerInfo
	provider openProvider
	http     http.Handler
}

// openProvider is a provider with its background work, which several generations may share.
type openProvider struct {
	providers.Provider
	work *work
}

// work is the background work of a provider.
type work struct{ end context.CancelFunc }

// open opens a provider whose background work ends with ctx, or earlier.
func open(ctx context.Context, settings providers.Settings, info providers.ServerInfo) (openProvider, error) {
	ctx, cancel := context.WithCancel(ctx)
	provider, err := settings.Open(ctx, info)
	if err != nil {
		cancel()
		return openProvider{}, err
	}
	return openProvider{provider, &work{cancel}}, nil
}

func (a *App) newGeneration(
	number uint64, cfg *configs.Config, info providers.ServerInfo, provider openProvider,
) *generation {
	g := &generation{number: number, digest: ConfigDigest(cfg), config: cfg, info: info, provider: provider}
	chain := a.chain
	chain.Resource, chain.Settings = cfg.Resource, cfg.Server
	chain.RequiredScopes, chain.Implies = cfg.Scopes.Required, cfg.Scopes.Implications()
	chain.KnownScopes, chain.Digest = info.KnownScopes, g.digest
	if a.alone {
		if indexed, ok := provider.Provider.(interface{ Index() http.Handler }); ok {
			chain.Routes = append(slices.Clone(chain.Routes), providers.Route{Path: "/", Handler: indexed.Index()})
		}
		g.http = server.NewIssuer(chain, provider.Provider)
		return g
	}
	g.http = server.New(chain, provider.Provider, a.MCP.With(policy(cfg)))
	return g
}

// policy is the part of cfg by which the MCP endpoint judges requests.
func policy(cfg *configs.Config) mcphttp.Policy {
	return mcphttp.Policy{
		Settings: cfg.MCP, Tools: cfg.Tools, RequiredScopes: cfg.Scopes.Required, MaxBodyBytes: cfg.Server.MaxBodyBytes,
	}
}

// Provider returns the provider in force.
func (a *App) Provider() providers.Provider { return a.current.Load().provider.Provider }

// Config returns the configuration in force, which must not be changed.
func (a *App) Config() *configs.Config { return a.current.Load().config }

// Generation returns the number of the configuration in force, 1 at the start, and its digest. The digest covers
// the effective values, but no secrets: a change of secrets changes the number alone.
func (a *App) Generation() (number uint64, digest string) {
	g := a.current.Load()
	return g.number, g.digest
}
