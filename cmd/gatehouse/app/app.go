// Package app assembles the server from a valid configuration: a provider, the MCP handler, and the HTTP
// chain in front of it. The commands, the tests and programs in other modules use it; the packages that it
// assembles do not import it.
package app

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
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
	"gatehouse/server/denials"
)

// App is an assembled server. [server.Serve] runs HTTP, with the [server.Lifecycle] of the method Lifecycle.
type App struct {
	Catalog mcptools.Catalog
	MCP     *mcphttp.Handler
	// HTTP serves each request by the configuration in force when it arrives.
	HTTP http.Handler
	// Audit is nil if audit.dir is not set.
	Audit *audit.Log
	// Denials is nil if denials.file is not set.
	Denials *denials.Watcher

	alone     bool // without MCP
	upstreams *Upstreams
	signIns   *server.SignIns
	stopBy    atomic.Pointer[time.Time] // set when the stop begins

	current     atomic.Pointer[generation]
	chain       server.Config // what the chains of all generations have in common
	drain       context.CancelFunc
	stopDenials context.CancelFunc // nil without a list of denials
	logger      *slog.Logger
	// open opens a provider whose background work ends with endProviders.
	open         func(providers.Settings, providers.ServerInfo) (openProvider, error)
	endProviders context.CancelFunc

	reloading  sync.Mutex // held during a reload
	lastReload atomic.Pointer[ReloadStatus]
	// openTimeout is how long a provider may take to become usable, and retireAfter how long a replaced one
	// continues, for the requests that use it.
	openTimeout, retireAfter time.Duration

	started time.Time
	meter   metric.Meter // nil without metrics
	tracer  trace.Tracer // nil without traces
}

// New opens the provider of cfg and assembles the server. Its background work ends with ctx, but for that of the
// provider, which ends with Close. The provider may be of any kind that [configs.Load] knows, those of
// [configs.Sources.ExtraKinds] included. The error is the provider's, or wraps [ErrAudit], [ErrDenials] or
// [ErrUpstream]. After the server has stopped, Close must be called.
func New(
	ctx context.Context, cfg *configs.Config, catalog CatalogFunc, logger *slog.Logger, options ...Option,
) (*App, error) {
	a := &App{logger: logger, started: time.Now(), openTimeout: openTimeout, retireAfter: retireAfter}
	for _, option := range options {
		option(a)
	}
	// A provider works as long as there are requests, also while the server drains: a store that is closed earlier loses
	// what a request under way has got from the provider where people sign in.
	working, end := context.WithCancel(context.WithoutCancel(ctx))
	a.endProviders = end
	a.open = func(settings providers.Settings, info providers.ServerInfo) (openProvider, error) {
		return open(working, settings, info)
	}
	counts := &server.RequestCounts{}
	stats := mcptools.Stats{
		Started:  a.started,
		Outcomes: counts.Snapshot,
		Sessions: func() int { return a.MCP.Sessions() },
		Keys:     func() providers.KeyStatus { return keyStatus(a.Provider()) },
	}
	if len(cfg.Upstreams) > 0 {
		stats.Upstreams = a.upstreamStats
	}
	if !a.alone {
		a.Catalog = a.signInTools().addTo(cfg, catalog(cfg.Tools, stats))
	}
	if err := a.openParts(ctx, cfg); err != nil {
		a.closeParts()
		return nil, err
	}
	a.signIns = server.NewSignIns(cfg.Resource.Origin(), a.Audit)
	info := a.serverInfo(cfg)
	provider, err := a.open(cfg.Provider, info)
	if err != nil {
		a.closeParts()
		return nil, err
	}
	a.MCP = mcphttp.NewHandler(mcphttp.Config{
		Policy: policy(cfg),
		Info:   mcp.Implementation{Name: "gatehouse", Title: title, Version: Version()},
		Logger: logger, Recorder: a.recorder(), Auditor: a.auditor(), Denier: a.denier(),
	}, a.Catalog)
	go a.MCP.Probe(ctx)

	telemetry, err := a.openTelemetry()
	if err != nil {
		a.Close()
		return nil, err
	}
	draining, drain := context.WithCancel(context.WithoutCancel(ctx))
	a.drain = drain
	a.chain = server.Config{
		ToolScopes: toolScopes(a.Catalog),
		Routes:     a.upstreams.routes(),
		Logger:     logger,
		Counts:     counts,
		Shared:     server.NewShared(cfg.Server, logger),
		Audit:      a.Audit,
		Denials:    a.denied(),
		Telemetry:  telemetry,
		Draining:   draining,
		IsStuck:    a.MCP.IsStuck,
	}
	a.current.Store(a.newGeneration(1, cfg, info, provider))
	a.HTTP = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.current.Load().http.ServeHTTP(w, r)
	})
	if err := a.observeState(counts); err != nil {
		a.Close()
		return nil, err
	}
	a.watchDenials()
	return a, nil
}

// Lifecycle returns the hooks for [server.Serve].
func (a *App) Lifecycle() server.Lifecycle {
	return server.Lifecycle{
		Draining: a.Drain, Closing: a.MCP.CloseStreams, Closed: a.Close,
		Settings: func() server.Settings { return a.current.Load().config.Server },
	}
}

// Drain makes readiness fail, so that load balancers send no more requests.
func (a *App) Drain() {
	a.noteStop()
	a.drain()
}

// Close ends all sessions and the calls that continue in them, then the provider and the upstreams, and then the audit
// log. Call it after the HTTP server stopped. It may be called more than once.
func (a *App) Close() {
	if a.stopDenials != nil {
		a.stopDenials()
	}
	a.MCP.CloseSessions()
	a.endProviders()
	a.closeParts()
}

// openParts opens what is needed before the provider. Without [WithUpstreams], the upstreams of cfg are opened, too.
func (a *App) openParts(ctx context.Context, cfg *configs.Config) (err error) {
	if a.upstreams == nil {
		if a.upstreams, err = openUpstreams(ctx, cfg, a.logger); err != nil {
			return err
		}
	}
	if err = a.addUpstreams(); err != nil {
		return err
	}
	if a.Denials, err = openDenials(cfg, a.logger); err != nil {
		return err
	}
	a.Audit, err = openAudit(cfg, ConfigDigest(cfg), a.logger)
	return err
}

// closeParts closes what openParts has opened. The audit log is the last, because calls of upstreams are recorded.
func (a *App) closeParts() {
	a.closeUpstreams()
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

// serverInfo returns what the provider in force needs to know.
func (a *App) serverInfo(cfg *configs.Config) providers.ServerInfo {
	info := ServerInfo(cfg, a.Catalog, a.logger)
	if a.alone {
		info = AloneInfo(cfg, a.logger)
	}
	info.Record, info.Denied = a.signIns.Record, a.isDenied
	return info
}

func keyStatus(p providers.Provider) providers.KeyStatus {
	if r, ok := p.(providers.KeyReporter); ok {
		return r.Keys()
	}
	return providers.KeyStatus{}
}
