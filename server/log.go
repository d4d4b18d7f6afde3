package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/labstack/echo/v4"
	slogecho "github.com/samber/slog-echo"
	"golang.org/x/time/rate"
)

// accessLog writes one line for each request when it ends. A stream is one line, at its end. The library writes it when everything
// else is done: as a step around the others it would put writers of its own around every answer and keep more of the stack than
// all other steps together, to count bytes that no line of ours tells.
func accessLog(c Config) echo.MiddlewareFunc {
	refusals := newRefusalBudget(c.Logger)
	worthALine := func(ctx echo.Context) bool {
		status := ctx.Response().Status
		switch {
		case isProbe(ctx): // they would be most of the log
			return false
		case status < http.StatusInternalServerError && !c.Logger.Enabled(ctx.Request().Context(), slog.LevelInfo):
			return false
		}
		return refusals.allow(status)
	}
	write := slogecho.NewWithConfig(slog.New(lean{c.Logger.Handler()}), slogecho.Config{
		DefaultLevel:     slog.LevelInfo,
		ClientErrorLevel: slog.LevelInfo, // every sign-in begins with a 401
		ServerErrorLevel: slog.LevelError,
	})(func(echo.Context) error { return nil })
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			err := next(ctx)
			if worthALine(ctx) {
				v := visitOf(ctx)
				v.took = time.Since(v.began)
				_ = write(ctx) // fails only with what it was put around
			}
			return err
		}
	}
}

// What strangers may write into the log: enough to see what is going on, too little to fill a disk. Every refusal is still
// counted in [Outcomes].
const (
	refusalsPerSecond = 20
	refusalsAtOnce    = 500
)

// refusalBudget leaves refusals out of the log when there are too many, and says how many it left out.
type refusalBudget struct {
	limiter *rate.Limiter
	logger  *slog.Logger
	leftOut atomic.Int64
}

func newRefusalBudget(logger *slog.Logger) *refusalBudget {
	return &refusalBudget{limiter: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce), logger: logger}
}

func (b *refusalBudget) allow(status int) bool {
	if status < http.StatusBadRequest || status >= http.StatusInternalServerError {
		return true
	}
	if !b.limiter.Allow() {
		b.leftOut.Add(1)
		return false
	}
	if n := b.leftOut.Swap(0); n > 0 {
		b.logger.Warn("refused requests were left out of the log", "count", n)
	}
	return true
}

// answered turns an error into its answer before the access log looks at the status, and counts how the request ended.
// The log's own fallback would make a 500 of every error that it does not know.
func answered(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			if err := next(ctx); err != nil {
				ctx.Error(err)
			}
			c.Outcomes.count(ctx)
			return nil
		}
	}
}

// alive turns a panic into an error. (Tools run on goroutines of the SDK, which this cannot reach: package mcptools
// guards them.)
func alive(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if v := recover(); v != nil {
				if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
					panic(v) // net/http's own way to drop a connection
				}
				err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}()
		return next(c)
	}
}

// lean is a slog.Handler that keeps of slog-echo's record what helps, in one flat line, and adds what the chain knows. Above all
// it drops the query and the referer, which can hold codes and tokens and cannot be switched off there.
type lean struct{ slog.Handler }

func (h lean) Handle(ctx context.Context, r slog.Record) error {
	v := visitIn(ctx)
	var line [9]slog.Attr // most requests end with six
	attrs := line[:0]
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "request" && a.Key != "response" {
			return true
		}
		for _, member := range a.Value.Group() {
			switch member.Key {
			case "path":
				attrs = append(attrs, slog.String("path", (&url.URL{Path: cut(member.Value.String())}).EscapedPath()))
			case "latency":
				attrs = append(attrs, slog.Duration(member.Key, v.took))
			case "method", "ip", "status":
				attrs = append(attrs, member)
			}
		}
		return true
	})
	attrs = append(attrs, slog.String("request_id", v.id))
	if v.identity != nil {
		v.caller = [2]slog.Attr{slog.String("subject", printable(v.identity.Subject)), slog.String("client", printable(v.identity.Client))}
		attrs = append(attrs, slog.Attr{Key: "caller", Value: slog.GroupValue(v.caller[:]...)})
	}
	if v.reason != "" {
		attrs = append(attrs, slog.String("reason", string(v.reason)))
	}
	if v.cause != nil {
		attrs = append(attrs, slog.String("detail", v.cause.Error()))
	}
	out := slog.NewRecord(r.Time, r.Level, "request", 0)
	out.AddAttrs(attrs...)
	return h.Handler.Handle(ctx, out)
}

// printable is a name that the issuer chose, fit for any log: no characters that a terminal obeys, and not too long.
func printable(name string) string {
	if len(name) <= 200 && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0 {
		return name
	}
	return strings.Trim(strconv.QuoteToGraphic(cut(name)), `"`)
}

func (h lean) WithAttrs(attrs []slog.Attr) slog.Handler { return lean{h.Handler.WithAttrs(attrs)} }
func (h lean) WithGroup(name string) slog.Handler       { return lean{h.Handler.WithGroup(name)} }
