package server

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"
	slogecho "github.com/samber/slog-echo"

	"gatehouse/providers"
)

// accessLog writes one line for each request when it ends. A stream is one line, at its end. The library writes it when everything
// else is done: as a step around the others it would put writers of its own around every answer and keep more of the stack than
// all other steps together, to count bytes that no line of ours tells.
func accessLog(c Config) echo.MiddlewareFunc {
	budget := newLogLimiter(c.Logger)
	shouldLog := func(ctx echo.Context) bool {
		status := ctx.Response().Status
		switch {
		case isProbe(ctx): // they would be most of the log
			return false
		case status < http.StatusInternalServerError && !c.Logger.Enabled(ctx.Request().Context(), slog.LevelInfo):
			return false
		}
		return budget.allow(stateOf(ctx), status)
	}
	logRequest := slogecho.NewWithConfig(slog.New(logHandler{c.Logger.Handler()}), slogecho.Config{
		DefaultLevel:     slog.LevelInfo,
		ClientErrorLevel: slog.LevelInfo, // every sign-in begins with a 401
		ServerErrorLevel: slog.LevelError,
	})(func(echo.Context) error { return nil })
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			err := next(ctx)
			if shouldLog(ctx) {
				v := stateOf(ctx)
				v.duration = time.Since(v.started)
				v.outcome = outcomeOf(v, ctx.Response())
				_ = logRequest(ctx) // fails only with what it was put around
			}
			return err
		}
	}
}

// logHandler is a slog.Handler that keeps of slog-echo's record what helps, in one flat line, and adds what the chain knows. Above all
// it drops the query and the referer, which can hold codes and tokens and cannot be switched off there.
type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	v := stateFrom(ctx)
	var line [11]slog.Attr // most requests end with eight
	attrs := line[:0]
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "request" && a.Key != "response" {
			return true
		}
		for _, member := range a.Value.Group() {
			switch member.Key {
			case "path":
				attrs = append(attrs, slog.String("path", (&url.URL{Path: truncate(member.Value.String())}).EscapedPath()))
			case "latency":
				attrs = append(attrs, slog.Float64("latency_ms", milliseconds(v.duration)))
			case "method":
				attrs = append(attrs, slog.String("method", providers.Printable(member.Value.String(), maxWord)))
			case "ip":
				attrs = append(attrs, slog.String("ip", providers.Printable(member.Value.String(), maxAddress)))
			case "status":
				attrs = append(attrs, member)
			}
		}
		return true
	})
	attrs = append(attrs, slog.String("outcome", string(v.outcome)), slog.String("request_id", v.id))
	if called := v.operationMembers(); len(called) > 0 {
		attrs = append(attrs, slog.Attr{Key: "mcp", Value: slog.GroupValue(called...)})
	}
	if v.identity != nil {
		v.caller = [2]slog.Attr{slog.String("subject", providers.Printable(v.identity.Subject, maxName)), slog.String("client", providers.Printable(v.identity.Client, maxName))}
		attrs = append(attrs, slog.Attr{Key: "caller", Value: slog.GroupValue(v.caller[:]...)})
	}
	if v.reason != "" {
		attrs = append(attrs, slog.String("reason", string(v.reason)))
	}
	if detail := v.logDetail(); detail != "" {
		attrs = append(attrs, slog.String("detail", detail))
	}
	out := slog.NewRecord(r.Time, r.Level, "request", 0)
	out.AddAttrs(attrs...)
	return h.Handler.Handle(ctx, out)
}

// How long the members of a line may be that come from a request or a token, in bytes.
const (
	maxWord    = 32 // the HTTP method, the protocol version
	maxAddress = 64
	maxName    = 200 // of a person, a client, a tool
	maxDetail  = 1_000
	maxStack   = 8_000 // of the detail of a fault in this program
)

// operationMembers are the members of a line that say what the request asks of the application.
func (v *requestState) operationMembers() []slog.Attr {
	called := v.operationAttrs[:0]
	for _, member := range [...]struct {
		key, value string
		limit      int
	}{
		{"method", v.operation.Method, maxName}, {"tool", v.operation.Tool, maxName},
		{"prompt", v.operation.Prompt, maxName}, {"protocol_version", v.operation.ProtocolVersion, maxWord},
	} {
		if member.value != "" {
			called = append(called, slog.String(member.key, providers.Printable(member.value, member.limit)))
		}
	}
	return called
}

// logDetail is the detail of a line.
func (v *requestState) logDetail() string {
	switch {
	case v.cause == nil:
		return providers.Printable(v.detail, maxDetail)
	case v.reason == providers.InternalError:
		text := v.cause.Error()
		return text[:min(len(text), maxStack)]
	}
	text := v.cause.Error()
	return text[:min(len(text), maxDetail)]
}

// milliseconds is how durations stand in a line: as a number with three digits, in both formats.
func milliseconds(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// outcomeOf says how a request ended, by what the application says of it, else by the reason and the status.
func outcomeOf(v *requestState, answer *echo.Response) providers.RequestOutcome {
	status := answer.Status
	switch {
	case v.Context.Err() != nil && (!answer.Committed || isOutage(v.reason)): // or the question was given up for it
		return providers.OutcomeCanceled
	case v.outcome != "":
		return v.outcome
	case status < http.StatusBadRequest:
		return providers.OutcomeOK
	case status == http.StatusUnauthorized:
		return providers.OutcomeUnauthenticated
	case status == http.StatusForbidden:
		return providers.OutcomeDenied
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && !isOutage(v.reason):
		return providers.OutcomeLimited
	case status == http.StatusServiceUnavailable:
		return providers.OutcomeUnavailable
	case status < http.StatusInternalServerError:
		return providers.OutcomeInvalid
	}
	return providers.OutcomeError
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
