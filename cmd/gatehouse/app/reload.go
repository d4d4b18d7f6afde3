package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/server/audit"
)

const (
	// openTimeout is how long the provider of a new configuration may take to become usable.
	openTimeout = 10 * time.Second
	// retireAfter is longer than a request can wait for the provider: 3 seconds for keys, or 5 for each of two
	// introspections.
	retireAfter = 15 * time.Second
	// usableInterval is how often a new provider is asked whether it is usable.
	usableInterval = 5 * time.Millisecond
)

// ReloadStatus is the result of the last reload.
type ReloadStatus struct {
	// Time is when it ended; zero if there was none.
	Time time.Time
	// OK is false if the new configuration was refused. It is true if there was no reload.
	OK bool
	// Reason names the settings for which it was refused, with codes, and without values or texts of a provider. The
	// log has the details.
	Reason string
}

// LastReload returns the result of the last reload.
func (a *App) LastReload() ReloadStatus {
	if status := a.lastReload.Load(); status != nil {
		return *status
	}
	return ReloadStatus{OK: true}
}

// Reload serves all later requests by cfg, and returns what changed. Requests in flight end by the configuration
// that they began with. Sessions and streams live on; each of their messages is judged by the configuration in force
// when it arrives.
//
// Everything is checked, and a provider with other settings is opened and usable, before anything changes. The error
// is a [configs.Problems], or that of ctx, and then nothing has changed. Reload logs and records both results.
func (a *App) Reload(ctx context.Context, cfg *configs.Config) ([]configs.Change, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	current := a.current.Load()
	next, changes, err := a.prepare(ctx, current, cfg)
	switch {
	case ctx.Err() != nil: // the server stops by the settings in force
		if next != nil && next.provider.work != current.provider.work {
			next.provider.work.end()
		}
		return nil, ctx.Err()
	case err != nil:
		a.refuse(err)
		return nil, err
	case next == nil:
		a.lastReload.Store(&ReloadStatus{Time: time.Now(), OK: true})
		a.logger.Info("reloaded: the configuration has not changed")
		return nil, nil
	}
	a.swap(current, next)
	a.recordReload(next, changes)
	return changes, nil
}

// RefuseReload logs and records that a configuration could not be loaded.
func (a *App) RefuseReload(err error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	a.refuse(err)
}

// prepare returns the generation of cfg, or nil if nothing changes.
func (a *App) prepare(
	ctx context.Context, current *generation, cfg *configs.Config,
) (*generation, []configs.Change, error) {
	if problems := configs.CheckReload(current.config, cfg); len(problems) > 0 {
		return nil, nil, problems
	}
	changes := configs.Compare(current.config, cfg)
	if len(changes) == 0 {
		return nil, nil, nil
	}
	info := a.serverInfo(cfg)
	provider, err := a.reopen(ctx, current, cfg, info)
	if err != nil {
		return nil, nil, err
	}
	return a.newGeneration(current.number+1, cfg, info, provider), changes, nil
}

// reopen returns the provider for cfg: the current one if nothing about it changes, or another one that is usable.
func (a *App) reopen(
	ctx context.Context, current *generation, cfg *configs.Config, info providers.ServerInfo,
) (openProvider, error) {
	if cfg.Kind == current.config.Kind && reflect.DeepEqual(cfg.Provider, current.config.Provider) {
		if sameScopes(info, current.info) {
			return current.provider, nil
		}
		if d, ok := cfg.Provider.(providers.Describer); ok {
			return openProvider{d.Describe(current.provider.Provider, info), current.provider.work}, nil
		}
	}
	opened, err := a.open(cfg.Provider, info)
	if err != nil {
		a.logger.Error("the provider of the new configuration cannot be opened", "error", err)
		return openProvider{}, unusable(cfg, "it cannot be opened")
	}
	if err := a.awaitUsable(ctx, cfg, opened.Provider); err != nil {
		opened.work.end()
		return openProvider{}, err
	}
	return opened, nil
}

// sameScopes reports whether both describe the same server. Its resource and name never change.
func sameScopes(a, b providers.ServerInfo) bool {
	return slices.Equal(a.InitialScopes, b.InitialScopes) && slices.Equal(a.KnownScopes, b.KnownScopes) &&
		maps.Equal(a.ScopeDescriptions, b.ScopeDescriptions)
}

// awaitUsable waits until a provider can verify tokens.
func (a *App) awaitUsable(ctx context.Context, cfg *configs.Config, p providers.Provider) error {
	reporter, hasKeys := p.(providers.KeyReporter)
	if !hasKeys {
		return nil
	}
	timeout := time.NewTimer(a.openTimeout)
	defer timeout.Stop()
	ticker := time.NewTicker(usableInterval)
	defer ticker.Stop()
	for !reporter.Keys().Usable {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return unusable(cfg, fmt.Sprintf("after %s it cannot verify tokens: %s", a.openTimeout,
				cmp.Or(reporter.Keys().Reason, providers.ReasonKeysUnavailable)))
		case <-ticker.C:
		}
	}
	return nil
}

// unusable is the problem of a provider that cannot be used. The reason is shown to operators without a token, so it
// has no text of the provider and no address: the provider logs those.
func unusable(cfg *configs.Config, reason string) error {
	return configs.Problems{{Key: "provider", Origin: "provider.kind " + cfg.Kind, Code: providers.CodeUnusable,
		Reason: reason, Fix: "`gatehouse doctor` finds out why; change the file again, or send SIGHUP, to try again"}}
}

// swap puts next in force. The chain comes first: what a request may do is in it, and the limits follow.
func (a *App) swap(current, next *generation) {
	a.current.Store(next)
	a.chain.Shared.SetLimits(next.config.Server)
	a.MCP.SetLimits(next.config.MCP)
	a.upstreams.setMaxCalls(next.config.MCP.MaxCalls)
	if a.Audit != nil {
		a.Audit.SetConfig(next.digest)
	}
	if next.provider.work != current.provider.work {
		time.AfterFunc(a.retireAfter, current.provider.work.end)
	}
}

// recordReload logs and records that next is in force.
func (a *App) recordReload(next *generation, changes []configs.Change) {
	a.lastReload.Store(&ReloadStatus{Time: time.Now(), OK: true})
	var keys, loosened []string
	for _, change := range changes {
		keys = append(keys, change.Key)
		if change.Loosens {
			loosened = append(loosened, change.Key)
		}
	}
	a.logger.Warn("reloaded: the configuration has changed", "generation", next.number, "config", next.digest,
		"changed", keys, "loosened", loosened)
	a.putReload(audit.Record{Decision: audit.Allow, Config: next.digest, Generation: next.number,
		Keys: keys, Loosened: loosened})
}

// refuse logs and records a refused configuration.
func (a *App) refuse(err error) {
	current := a.current.Load()
	status, reason, keys := ReloadStatus{Time: time.Now(), Reason: err.Error()}, "", []string(nil)
	if problems, ok := errors.AsType[configs.Problems](err); ok {
		status.Reason, reason, keys = problems.Summary(), string(problems[0].Code), problems.Settings()
	}
	a.lastReload.Store(&status)
	a.logger.Error("the new configuration is refused, and the current one stays in force; `gatehouse config` "+
		"shows problems of the files in full", "problems", status.Reason, "generation", current.number)
	a.putReload(audit.Record{Decision: audit.Deny, Reason: reason, Config: current.digest, Generation: current.number,
		Keys: keys})
}

func (a *App) putReload(r audit.Record) {
	if a.Audit == nil {
		return
	}
	r.Event, r.Duration = audit.EventReload, -1
	a.Audit.Put(r)
}
