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

// ErrUpstream is the error of [New] and [OpenUpstreams] if an upstream, or one of its tools, cannot be offered.
var ErrUpstream = errors.New("an upstream cannot be offered")

// Upstreams are the upstreams of a configuration. Nil is none.
type Upstreams struct {
	set     *upstream.Set
	minter  *upstream.Minter // nil if none has identity: jwt
	closing sync.Once
}

// OpenUpstreams starts the upstreams of cfg. It waits for those without pins, because they say what the server offers.
// They must be closed; an [App] closes its own.
func OpenUpstreams(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (*Upstreams, error) {
	if len(cfg.Upstreams) == 0 {
		return nil, nil
	}
	options, err := UpstreamOptions(cfg, logger)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUpstream, err)
	}
	set, err := upstream.Open(ctx, cfg.Upstreams, options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUpstream, err)
	}
	return &Upstreams{set: set, minter: options.Minter}, nil
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

// WithUpstreams uses upstreams that [OpenUpstreams] has opened for the same configuration. They belong to the App, and
// are closed if [New] returns an error. Nil is the same as no option.
func WithUpstreams(u *Upstreams) Option { return func(a *App) { a.upstreams = u } }

// Close ends the upstreams, at the end of ctx at the latest. It may be called more than once.
func (u *Upstreams) Close(ctx context.Context) {
	if u != nil {
		u.closing.Do(func() { u.set.Close(ctx) })
	}
}

// jwksPath is where upstreams find the keys of the tokens that they get, at the origin of the resource.
const jwksPath = "/.well-known/jwks.json"

// routes are the public routes that upstreams need.
func (u *Upstreams) routes() []providers.Route {
	if u == nil || u.minter == nil {
		return nil
	}
	keys := u.minter.KeySet()
	return []providers.Route{{Path: jwksPath, AnyOrigin: true, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Allow", "GET, HEAD")
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "public, max-age=300")
			_, _ = w.Write(keys) // an error is that of the connection
		})}}
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
