package main

import (
	"io"
	"log/slog"

	"gatehouse/configs"
	"gatehouse/providers/authserver"
)

// durationsWithUnit writes durations as "1.5s". slog's JSON handler would write nanoseconds without a unit.
func durationsWithUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// newLogger returns a logger that writes to w in the format of log.format.
func newLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: durationsWithUnit}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// newLogger returns the logger of the process, and its level, which can be changed. Libraries that use the default
// logger, such as zitadel/oidc, get one that starts at level warn: what they log at lower levels are their own
// internals. Strangers cause some of the rest, one line for each request that the authorization server refuses.
func (c console) newLogger(l configs.Log) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	level.Set(l.SlogLevel())
	if c.setDefaultLogger != nil {
		c.setDefaultLogger(authserver.LimitLog(newLogger(l.Format, warnOrHigher{level}, c.stderr)))
	}
	return newLogger(l.Format, level, c.stderr), level
}

// warnOrHigher is a level that is not below warn.
type warnOrHigher struct{ slog.Leveler }

// Level implements slog.Leveler.
func (l warnOrHigher) Level() slog.Level { return max(l.Leveler.Level(), slog.LevelWarn) }
