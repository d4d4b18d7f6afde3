package main

import (
	"io"
	"log/slog"

	"gatehouse/configs"
)

// durationsWithUnit writes durations as "1.5s". slog's JSON handler would write nanoseconds, and nothing that says so.
func durationsWithUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// newLogger returns the process's logger. Libraries that log by themselves (zitadel/oidc does) get the same one, from
// warnings upwards: their lines are about themselves.
func newLogger(l configs.Log, w io.Writer) *slog.Logger {
	handler := func(level slog.Level) slog.Handler {
		options := &slog.HandlerOptions{Level: level, ReplaceAttr: durationsWithUnit}
		if l.Format == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	slog.SetDefault(slog.New(handler(max(l.SlogLevel(), slog.LevelWarn))))
	return slog.New(handler(l.SlogLevel()))
}
