package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/upstream"
	"gatehouse/server"
)

// ErrUpstream is the error of [New] and [OpenUpstreams] if an upstream, or one of its tools, cannot be offered.
var ErrUpstream = errors.New("an upstream cannot be offered")

// OpenUpstreams starts the upstreams of cfg. It waits for those without pins, because they say what the server offers.
// The set is nil if there are none. Its owner must close it; an [App] closes its own.
func OpenUpstreams(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (*upstream.Set, error) {
	if len(cfg.Upstreams) == 0 {
		return nil, nil
	}
	set, err := upstream.Open(ctx, cfg.Upstreams, UpstreamOptions(logger))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUpstream, err)
	}
	return set, nil
}

// UpstreamOptions returns what all upstreams have in common.
func UpstreamOptions(logger *slog.Logger) upstream.Options {
	return upstream.Options{Logger: logger, Version: Version()}
}

// addUpstreams adds the tools of the upstreams to the catalog. A tool of this server is never replaced: a name that
// exists twice is an error.
func (a *App) addUpstreams(set *upstream.Set) error {
	if set == nil {
		return nil
	}
	a.upstreams = set
	// The list is copied: the function that made the catalog may keep its own.
	a.Catalog.Tools = slices.Concat(a.Catalog.Tools, set.Tools())
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
	return a.upstreams.Status()
}

// closeMargin is the part of the time of a stop that remains after the upstreams ended, for the audit log.
const closeMargin = 300 * time.Millisecond

// closeUpstreams ends the upstreams, at the latest when the time for the stop is over.
func (a *App) closeUpstreams() {
	if a.upstreams == nil {
		return
	}
	a.closingUpstreams.Do(func() {
		deadline := time.Now().Add(server.StopMargin - closeMargin)
		if stop := a.stopBy.Load(); stop != nil {
			deadline = stop.Add(-closeMargin)
		}
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		a.upstreams.Close(ctx)
	})
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
