package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"gatehouse/configs"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/server"
	"gatehouse/server/audit"
	"gatehouse/server/denials"
)

// ErrDenials is the error of [New] if the list of denials is missing or bad. It also wraps a
// [denials.FileError].
var ErrDenials = errors.New("the list of denied callers cannot be read")

// openDenials reads the list of denials of cfg, or returns nil if there is none.
func openDenials(cfg *configs.Config, logger *slog.Logger) (*denials.Watcher, error) {
	if cfg.Denials.File == "" {
		return nil, nil
	}
	w, err := denials.Open(cfg.Denials, logger)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDenials, err)
	}
	return w, nil
}

// denier and denied are the list for the MCP endpoint and for the server. They are nil, and not a nil pointer
// in an interface, without one.
func (a *App) denier() mcphttp.Denier {
	if a.Denials == nil {
		return nil
	}
	return a.Denials
}

func (a *App) denied() server.Denials {
	if a.Denials == nil {
		return nil
	}
	return a.Denials
}

// watchDenials records the list in force, and ends what callers that a new list denies have open. It watches
// until Close, because a server that drains still serves.
func (a *App) watchDenials() {
	if a.Denials == nil {
		return
	}
	list := a.Denials.List()
	a.logger.Info("denials in force", "entries", list.Len(), "digest", list.Digest())
	a.recordDenials(list)
	ctx, stop := context.WithCancel(context.Background())
	a.stopDenials = stop
	go a.Denials.Run(ctx, func(before, now *denials.List) {
		ended := 0
		if now.Adds(before) {
			ended = a.MCP.End(now.Check)
		}
		a.logger.Warn("denials changed", "entries", now.Len(), "before", before.Len(), "digest", now.Digest(),
			"ended", ended)
		a.recordDenials(now)
	})
}

// recordDenials writes the audit record of a list that came into force. It names no caller.
func (a *App) recordDenials(list *denials.List) {
	if a.Audit != nil {
		a.Audit.Put(audit.Record{Event: audit.EventDenials, Count: int64(list.Len()), Digest: list.Digest(),
			Config: a.Audit.Config(), Duration: -1})
	}
}
