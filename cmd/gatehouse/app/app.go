// Package app assembles the server from a valid configuration: a provider, the MCP handler, and the HTTP
// chain in front of it. The commands, the tests and programs in other modules use it; the packages that it
// assembles do not import it.
package app

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
	"gatehouse/server"
	"gatehouse/server/audit"
)

// App is an assembled server. [server.Serve] runs HTTP, with Drain and the methods of MCP as its [server.Lifecycle].
type App struct {
	Provider providers.Provider
	Catalog  mcptools.Catalog
	MCP      *mcphttp.Handler
	HTTP     http.Handler
	// Audit is nil if audit.dir is not set.
	Audit *audit.Log

	drain  context.CancelFunc
	logger *slog.Logger
	meter  metric.Meter // nil without metrics
	tracer trace.Tracer // nil without traces
	digest string       // of the configuration
}

// New opens the provider of cfg and assembles the server. Its background work ends with ctx. The provider may be of
// any kind that [configs.Load] knows, those of [configs.Sources.ExtraKinds] included. The error is the provider's, or
// wraps [ErrAudit]. After the server has stopped, Close must be called.
func New(
	ctx context.Context, cfg *configs.Config, catalog CatalogFunc, logger *slog.Logger, options ...Option,
) (*App, error) {
	a := &App{logger: logger, digest: configDigest(cfg)}
	for _, option := range options {
		option(a)
	}
	counts := &server.RequestCounts{}
	a.Catalog = catalog(cfg.Tools, mcptools.Stats{
		Started:  time.Now(),
		Outcomes: counts.Snapshot,
		Sessions: func() int { return a.MCP.Sessions() },
		Keys:     func() providers.KeyStatus { return keyStatus(a.Provider) },
	})
	serverInfo := ServerInfo(cfg, a.Catalog, logger)
	var err error
	if a.Audit, err = openAudit(cfg, a.digest, logger); err != nil {
		return nil, err
	}
	a.Provider, err = cfg.Provider.Open(ctx, serverInfo)
	if err != nil {
		a.closeAudit()
		return nil, err
	}
	a.MCP = mcphttp.NewHandler(mcphttp.Config{
		Settings: cfg.MCP, Tools: cfg.Tools, RequiredScopes: cfg.Scopes.Required,
		Info:         mcp.Implementation{Name: "gatehouse", Title: title, Version: Version()},
		MaxBodyBytes: cfg.Server.MaxBodyBytes, Logger: logger, Recorder: a.recorder(), Auditor: a.auditor(),
	}, a.Catalog)
	go a.MCP.Probe(ctx)

	telemetry, err := a.openTelemetry()
	if err != nil {
		a.Close()
		return nil, err
	}
	draining, drain := context.WithCancel(context.WithoutCancel(ctx))
	a.drain = drain
	config := server.Config{
		Resource:       cfg.Resource,
		Settings:       cfg.Server,
		RequiredScopes: cfg.Scopes.Required,
		Implies:        cfg.Scopes.Implications(),
		KnownScopes:    serverInfo.KnownScopes,
		ToolScopes:     toolScopes(a.Catalog),
		Logger:         logger,
		Counts:         counts,
		Audit:          a.Audit,
		Telemetry:      telemetry,
		Draining:       draining,
		IsStuck:        a.MCP.IsStuck,
	}
	if err := a.observeState(counts, config); err != nil {
		a.Close()
		return nil, err
	}
	a.HTTP = server.New(config, a.Provider, a.MCP)
	return a, nil
}

// Drain makes readiness fail, so that load balancers send no more requests.
func (a *App) Drain() { a.drain() }

// Close ends all sessions and the calls that continue in them, and then the audit log. Call it after the HTTP server
// stopped. It may be called more than once.
func (a *App) Close() {
	a.MCP.CloseSessions()
	a.closeAudit()
}

func (a *App) closeAudit() {
	if a.Audit == nil {
		return
	}
	if err := a.Audit.Close(); err != nil {
		a.logger.Error("the audit log was not closed in order", "error", err)
	}
}

// title is the display name of the server.
const title = "Gatehouse"

// ServerInfo returns what the provider needs to know about the server that cfg describes.
func ServerInfo(cfg *configs.Config, catalog mcptools.Catalog, logger *slog.Logger) providers.ServerInfo {
	return providers.ServerInfo{
		Resource:      cfg.Resource,
		Name:          title,
		InitialScopes: cfg.Scopes.Initial,
		KnownScopes:   knownScopes(cfg, catalog),

		ScopeDescriptions: cfg.Scopes.DescriptionOf(),
		UserAgent:         UserAgent(),
		Logger:            logger,
	}
}

func keyStatus(p providers.Provider) providers.KeyStatus {
	if r, ok := p.(providers.KeyReporter); ok {
		return r.Keys()
	}
	return providers.KeyStatus{}
}
