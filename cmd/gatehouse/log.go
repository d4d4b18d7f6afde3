package main

import (
	"io"
	"log/slog"

	"gatehouse/configs"
)

// newLogger returns the process's logger. Libraries that log by themselves (zitadel/oidc does) get the same one, from
// warnings upwards: their lines are about themselves.
func newLogger(l configs.Log, w io.Writer) *slog.Logger {
	handler := func(level slog.Level) slog.Handler {
		options := &slog.HandlerOptions{Level: level}
		if l.Format == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	slog.SetDefault(slog.New(handler(max(l.SlogLevel(), slog.LevelWarn))))
	return slog.New(handler(l.SlogLevel()))
}
