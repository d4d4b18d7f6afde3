package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/server"
)

// ErrUpstream is the error of [New], [NewUpstreams] and [Upstreams.Open] if an upstream, or one of its tools, cannot be
// offered.
var ErrUpstream = errors.New("an upstream cannot be offered")

// Upstreams are the upstreams of a configuration. Nil is none.
type Upstreams struct {
	settings []upstream.Settings
	options  upstream.Options
	set      *upstream.Set // nil before Open
	closing  sync.Once
}

// NewUpstreams returns the upstreams of cfg, which Open starts.
func NewUpstreams(cfg *configs.Config, logger *slog.Logger) (*Upstreams, error) {
	if len(cfg.Upstreams) == 0 {
		return nil, nil
	}
	options, err := UpstreamOptions(cfg, logger)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUpstream, err)
	}
	return &Upstreams{settings: cfg.Upstreams, options: options}, nil
}

// Open starts the upstreams. It waits for those without pins, because they say what the server offers. They must be
// closed; an [App] closes its own.
func (u *Upstreams) Open(ctx context.Context) (err error) {
	if u == nil {
		return nil
	}
	if u.set, err = upstream.Open(ctx, u.settings, u.options); err != nil {
		return fmt.Errorf("%w: %w", ErrUpstream, err)
	}
	return nil
}

// openUpstreams starts the upstreams of cfg.
func openUpstreams(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (*Upstreams, error) {
	u, err := NewUpstreams(cfg, logger)
	if err != nil {
		return nil, err
	}
	return u, u.Open(ctx)
}

// UpstreamOptions returns what the upstreams of cfg have in common.
func UpstreamOptions(cfg *configs.Config, logger *slog.Logger) (upstream.Options, error) {
	options := upstream.Options{Logger: logger, Version: Version(), MaxCalls: cfg.MCP.MaxCalls}
	mints := func(s upstream.Settings) bool { return s.Identity == upstream.IdentityJWT }
	if !slices.ContainsFunc(cfg.Upstreams, mints) {
		return options, nil
	}
	key, err := cfg.UpstreamKey.Key()
	if err != nil {
		return options, err
	}
	options.Minter, err = upstream.NewMinter(cfg.Resource.String(), key)
	return options, err
}

// WithUpstreams uses upstreams of the same configuration that are open. They belong to the App, and are closed if [New]
// returns an error. Nil is the same as no option.
func WithUpstreams(u *Upstreams) Option { return func(a *App) { a.upstreams = u } }

func (u *Upstreams) setMaxCalls(n int) {
	if u != nil {
		u.set.SetMaxCalls(n)
	}
}

// Close ends the upstreams, at the end of ctx at the latest. It may be called more than once.
func (u *Upstreams) Close(ctx context.Context) {
	if u != nil && u.set != nil {
		u.closing.Do(func() { u.set.Close(ctx) })
	}
}

// JWKSPath is where upstreams find the keys of the tokens that they get, at the origin of the resource.
const JWKSPath = "/.well-known/jwks.json"

// Keys serves the keys of the tokens that upstreams get, at [JWKSPath]. It is nil if none has identity: jwt.
func (u *Upstreams) Keys() http.Handler {
	if u == nil || u.options.Minter == nil {
		return nil
	}
	keys := u.options.Minter.KeySet()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(keys) // an error is that of the connection
	})
}

// routes are the public routes that upstreams need.
func (u *Upstreams) routes() []providers.Route {
	keys := u.Keys()
	if keys == nil {
		return nil
	}
	return []providers.Route{{Path: JWKSPath, AnyOrigin: true, Handler: keys}}
}

// addUpstreams adds the tools of the upstreams to the catalog. A tool of this server is never replaced: a name that
// exists twice is an error.
func (a *App) addUpstreams() error {
	if a.upstreams == nil {
		return nil
	}
	// The list is copied: the function that made the catalog may keep its own.
	a.Catalog.Tools = slices.Concat(a.Catalog.Tools, a.upstreams.set.Tools())
	seen := map[string]bool{}
	for _, tool := range a.Catalog.Tools {
		if seen[tool.Name] {
			return fmt.Errorf("%w: there are two tools with the name %q: set upstreams.NAME.prefix", ErrUpstream,
				tool.Name)
		}
		seen[tool.Name] = true
	}
	return nil
}

// Upstreams returns the state of each upstream, in the order of their names.
func (a *App) Upstreams() []upstream.Status {
	if a.upstreams == nil {
		return nil
	}
	return a.upstreams.set.Status()
}

func (a *App) upstreamStats() []mcptools.UpstreamStats {
	var all []mcptools.UpstreamStats
	for _, s := range a.Upstreams() {
		all = append(all, mcptools.UpstreamStats{Name: s.Name, State: string(s.State), Reason: s.Reason})
	}
	return all
}

// closeMargin is the part of the time of a stop that remains after the upstreams ended, for the audit log.
const closeMargin = 300 * time.Millisecond

// closeUpstreams ends the upstreams, at the latest when the time for the stop is over.
func (a *App) closeUpstreams() {
	deadline := time.Now().Add(server.StopMargin - closeMargin)
	if stop := a.stopBy.Load(); stop != nil {
		deadline = stop.Add(-closeMargin)
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	a.upstreams.Close(ctx)
}

// noteStop notes when a stop that begins now must have ended.
func (a *App) noteStop() {
	s := a.Config().Server
	stop := time.Now().Add(s.DrainTime + s.ShutdownTimeout + server.StopMargin)
	a.stopBy.CompareAndSwap(nil, &stop)
}

// UpstreamScopes are the scopes that upstreams.NAME.tools names, whether a tool needs them or not.
func UpstreamScopes(cfg *configs.Config) []string {
	var rules mcptools.Catalog
	for _, u := range cfg.Upstreams {
		for _, rule := range u.Rules() {
			rules.Tools = append(rules.Tools, mcptools.Tool{Scopes: rule.Scopes})
		}
	}
	return rules.Scopes()
}
