package authserver

import (
	"context"
	"log/slog"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/time/rate"
)

// Limits of the log: anyone who can reach the issuer can cause log lines.
const (
	logRate        = 20
	logBurst       = 500
	maxLoggedBytes = 300 // of one value, which may be part of a request
)

// limitedHandler drops log lines above the rate limit and reports how many it dropped. It truncates long
// values. Errors are limited too, because requests can cause them.
type limitedHandler struct {
	slog.Handler
	limiter *rate.Limiter
	dropped *atomic.Int64
}

// LimitLog returns a logger with the limits of the log of an [Issuer], for other lines that anyone can cause. The
// library of this package logs each request that it refuses, with [slog.Default].
func LimitLog(l *slog.Logger) *slog.Logger { return slog.New(newLimitedHandler(l.Handler())) }

func newLimitedHandler(next slog.Handler) limitedHandler {
	return limitedHandler{next, rate.NewLimiter(logRate, logBurst), &atomic.Int64{}}
}

// Handle implements slog.Handler.
func (h limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.limiter.Allow() {
		h.dropped.Add(1)
		return nil
	}
	short := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		short.AddAttrs(truncate(a))
		return true
	})
	if n := h.dropped.Swap(0); n > 0 {
		short.AddAttrs(slog.Int64("lines_left_out_before", n))
	}
	return h.Handler.Handle(ctx, short)
}

// WithAttrs implements slog.Handler.
func (h limitedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i, a := range attrs {
		attrs[i] = truncate(a)
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup implements slog.Handler.
func (h limitedHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

func truncate(a slog.Attr) slog.Attr {
	value := a.Value.Resolve()
	switch value.Kind() {
	case slog.KindString, slog.KindAny:
		if text := value.String(); len(text) > maxLoggedBytes {
			end := maxLoggedBytes
			for end > 0 && !utf8.RuneStart(text[end]) {
				end--
			}
			return slog.String(a.Key, text[:end]+" (truncated)")
		}
	case slog.KindGroup:
		members := make([]slog.Attr, 0, len(value.Group()))
		for _, member := range value.Group() {
			members = append(members, truncate(member))
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(members...)}
	}
	return a
}
