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

// accessLog writes one line for each request when it ends; a stream is one line, at its end.
func accessLog(c Config) echo.MiddlewareFunc {
	limiter := c.Shared.logLimiter
	logRequest := slogecho.NewWithConfig(slog.New(logHandler{c.Logger.Handler()}), slogecho.Config{
		DefaultLevel:     slog.LevelInfo,
		ClientErrorLevel: slog.LevelInfo, // every sign-in starts with a 401
		ServerErrorLevel: slog.LevelError,
		Filters: []slogecho.Filter{
			func(ctx echo.Context) bool { return !isProbe(ctx) }, // probes would be most of the log
			func(ctx echo.Context) bool { return isLevelEnabled(c.Logger, ctx) },
			func(ctx echo.Context) bool { return limiter.allow(stateOf(ctx), ctx.Response().Status) },
		},
	})
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return logRequest(func(ctx echo.Context) error {
			// The ResponseWriter of slog-echo has no Unwrap method. http.ResponseController needs it to set
			// deadlines, so the steps that follow get the writer of net/http.
			ctx.Response().Writer = stateOf(ctx).writer
			return next(ctx)
		})
	}
}

// isLevelEnabled keeps requests below the log's level from counting towards the limits.
func isLevelEnabled(logger *slog.Logger, ctx echo.Context) bool {
	return ctx.Response().Status >= http.StatusInternalServerError ||
		logger.Enabled(ctx.Request().Context(), slog.LevelInfo)
}

// logHandler is a slog.Handler that reduces slog-echo's record to one flat line and adds what the chain
// knows. It drops the query and the referer, which can contain codes and tokens and which slog-echo cannot
// omit.
type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	state := stateFrom(ctx)
	attrs := make([]slog.Attr, 0, 11) // eight for most requests
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "request" && a.Key != "response" {
			return true
		}
		for _, member := range a.Value.Group() {
			switch member.Key {
			case "path":
				attrs = append(attrs, slog.String("path", shownPath(member.Value.String())))
			case "latency":
				attrs = append(attrs, slog.Float64("latency_ms", milliseconds(member.Value.Duration())))
			case "method":
				method := providers.Printable(member.Value.String(), maxWord)
				attrs = append(attrs, slog.String("method", method))
			case "ip":
				ip := providers.Printable(member.Value.String(), maxAddress)
				attrs = append(attrs, slog.String("ip", ip))
			case "status":
				attrs = append(attrs, member)
			}
		}
		return true
	})
	attrs = append(attrs, slog.String("outcome", string(state.outcome)), slog.String("request_id", state.id))
	if called := state.operationMembers(); len(called) > 0 {
		attrs = append(attrs, slog.Attr{Key: "mcp", Value: slog.GroupValue(called...)})
	}
	if state.identity != nil {
		attrs = append(attrs, slog.Group("caller",
			"subject", providers.Printable(state.identity.Subject, maxName),
			"client", providers.Printable(state.identity.Client, maxName)))
	}
	if state.reason != "" {
		attrs = append(attrs, slog.String("reason", string(state.reason)))
	}
	if detail := state.logDetail(); detail != "" {
		attrs = append(attrs, slog.String("detail", detail))
	}
	out := slog.NewRecord(r.Time, r.Level, "request", 0)
	out.AddAttrs(attrs...)
	return h.Handler.Handle(ctx, out)
}

// shownPath returns a path as logs and spans show it.
func shownPath(path string) string {
	shown := url.URL{Path: path[:min(len(path), maxName)]}
	return shown.EscapedPath()
}

// Limits of values in a log line that come from a request or a token, in bytes.
const (
	maxWord    = 32 // HTTP method, protocol version
	maxAddress = 64
	maxName    = 200 // subject, client, tool, path
	maxDetail  = 1_000
	maxStack   = 8_000 // detail of an internal error, with its stack
)

// operationMembers are the attributes of a log line that describe the MCP operation.
func (s *requestState) operationMembers() []slog.Attr {
	called := make([]slog.Attr, 0, 4)
	for _, member := range [...]struct {
		key, value string
		limit      int
	}{
		{"method", s.operation.Method, maxName}, {"tool", s.operation.Tool, maxName},
		{"prompt", s.operation.Prompt, maxName}, {"protocol_version", s.operation.ProtocolVersion, maxWord},
	} {
		if member.value != "" {
			called = append(called, slog.String(member.key, providers.Printable(member.value, member.limit)))
		}
	}
	return called
}

// logDetail is the "detail" of a log line.
func (s *requestState) logDetail() string {
	switch {
	case s.cause == nil:
		return providers.Printable(s.detail, maxDetail)
	case s.reason == providers.ReasonInternalError:
		text := s.cause.Error()
		return text[:min(len(text), maxStack)]
	}
	text := s.cause.Error()
	return text[:min(len(text), maxDetail)]
}

// milliseconds formats durations as numbers with three decimals, the same in both log formats.
func milliseconds(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// outcomeOf classifies how a request ended: as the application reported it, or else by the reason and the
// status.
func outcomeOf(state *requestState, response *echo.Response) Outcome {
	status := response.Status
	switch {
	// The client hung up before a response, or during the request to the provider.
	case state.Context.Err() != nil && (!response.Committed || isOutage(state.reason)):
		return OutcomeCanceled
	case state.outcome != "":
		return state.outcome
	case status < http.StatusBadRequest:
		return OutcomeOK
	case status == http.StatusUnauthorized:
		return OutcomeUnauthenticated
	case status == http.StatusForbidden:
		return OutcomeDenied
	case status == http.StatusServiceUnavailable && state.hasSignInEvent:
		return OutcomeUnavailable
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && !isOutage(state.reason):
		return OutcomeLimited
	case status == http.StatusServiceUnavailable:
		return OutcomeUnavailable
	case status < http.StatusInternalServerError:
		return OutcomeInvalid
	}
	return OutcomeError
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
