package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
	"gatehouse/server"
)

// house is everything that runs, put together.
type house struct {
	provider providers.Provider
	tools    []mcptools.Tool
	mcp      *mcptools.Handler
	http     http.Handler
	// drain makes the server say that it is not ready, and ends open streams.
	drain func()
}

// build puts the house together from a valid configuration. What runs in the background ends with ctx.
func build(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (*house, error) {
	h := &house{}
	outcomes := &server.Outcomes{}
	h.tools = mcptools.All(mcptools.Vitals{
		Started:  time.Now(),
		Outcomes: outcomes.Snapshot,
		Sessions: func() int { return h.mcp.Sessions() },
		Keys:     func() providers.KeyStatus { return keyStatus(h.provider) },
	})
	var err error
	h.provider, err = cfg.Provider.Open(ctx, providers.Site{
		Resource:      cfg.Resource,
		Name:          serverInfo.Title,
		InitialScopes: cfg.Scopes.Initial,
		KnownScopes:   distinct(cfg.Scopes.Required, cfg.Scopes.Initial, mcptools.ScopesOf(h.tools)),
		Logger:        logger,
	})
	if err != nil {
		return nil, err
	}
	info := serverInfo
	info.Version = buildVersion()
	h.mcp = mcptools.NewHandler(mcptools.Options{
		Settings: cfg.MCP, Tools: cfg.Tools, Info: info, RequiredScopes: cfg.Scopes.Required, Logger: logger,
	}, mcptools.Catalog{Tools: h.tools})

	draining, drain := context.WithCancel(context.WithoutCancel(ctx))
	h.drain = func() {
		drain()
		h.mcp.CloseStreams()
	}
	h.http = server.New(server.Config{
		Resource:       cfg.Resource,
		Settings:       cfg.Server,
		RequiredScopes: cfg.Scopes.Required,
		Logger:         logger,
		Outcomes:       outcomes,
		Draining:       draining,
	}, h.provider, h.mcp)
	return h, nil
}

// serverInfo is how the server introduces itself to clients.
var serverInfo = mcp.Implementation{Name: "gatehouse", Title: "Gatehouse"}

func keyStatus(p providers.Provider) providers.KeyStatus {
	if r, ok := p.(providers.KeyReporter); ok {
		return r.Keys()
	}
	return providers.KeyStatus{}
}

// distinct joins lists, keeping the first of equal entries.
func distinct(lists ...[]string) []string {
	var out []string
	seen := map[string]bool{}
	for _, list := range lists {
		for _, s := range list {
			if !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}
