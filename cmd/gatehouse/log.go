package main

import (
	"io"
	"log/slog"

	"gatehouse/configs"
)

// durationsWithUnit writes durations as "1.5s". slog's JSON handler would write nanoseconds without a unit.
func durationsWithUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// newLogger returns a logger that writes to w at level, or at the level of l if that is higher.
func newLogger(l configs.Log, level slog.Level, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: max(l.SlogLevel(), level), ReplaceAttr: durationsWithUnit}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// newLogger returns the logger of the process. Libraries that use the default logger, such as zitadel/oidc,
// get one that starts at level warn: what they log at lower levels are their own internals.
func (c console) newLogger(l configs.Log) *slog.Logger {
	if c.setDefaultLogger != nil {
		c.setDefaultLogger(newLogger(l, slog.LevelWarn, c.stderr))
	}
	return newLogger(l, slog.LevelDebug, c.stderr)
}
