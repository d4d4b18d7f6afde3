package server

import (
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

// Limits of log lines about refusals and requests without a token: enough to diagnose a problem, too few
// to fill a disk. Every request is still counted in [RequestCounts].
const (
	linesPerSecond = 20
	lineBurst      = 500
	// outageInterval is the interval between lines about an outage of the provider: every token causes one,
	// and all of them say the same.
	outageInterval = time.Minute
)

// logLimiter drops log lines beyond a rate for each kind of line, and logs how many were dropped. Successful
// requests with a valid token are always logged.
type logLimiter struct {
	// refusals are requests without a valid token, whether rejected or served.
	refusals lineLimiter
	// callers are rejected requests of authenticated callers. Requests without a token must not hide them.
	callers lineLimiter
	// faults are responses with a status of 500 or above other than 503. They have their own limit, so that
	// refusals do not hide them.
	faults lineLimiter

	mu      sync.Mutex
	outages map[providers.Reason]*lineLimiter
	logger  *slog.Logger
}

func newLogLimiter(logger *slog.Logger) *logLimiter {
	newLimiter := func() *rate.Limiter { return rate.NewLimiter(linesPerSecond, lineBurst) }
	return &logLimiter{
		refusals: lineLimiter{limiter: newLimiter(), logger: logger, kind: "refusals"},
		callers:  lineLimiter{limiter: newLimiter(), logger: logger, kind: "refusals of signed-in callers"},
		faults:   lineLimiter{limiter: newLimiter(), logger: logger, kind: "faults"},
		outages:  map[providers.Reason]*lineLimiter{},
		logger:   logger,
	}
}

// allow reports whether to log a request.
func (l *logLimiter) allow(state *requestState, status int) bool {
	switch {
	case status == http.StatusServiceUnavailable && isOutage(state.reason) && state.Context.Err() == nil:
		return l.outageLimiter(state.reason).allow()
	case status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable:
		return l.faults.allow()
	case state.identity == nil:
		return l.refusals.allow()
	case status >= http.StatusBadRequest:
		return l.callers.allow()
	}
	return true
}

// isOutage reports whether a request was rejected because the provider or the audit log is unavailable.
func isOutage(reason providers.Reason) bool {
	return reason == providers.ReasonKeysUnavailable || reason == providers.ReasonIntrospectionUnavailable ||
		reason == audit.ReasonUnavailable
}

func (l *logLimiter) outageLimiter(reason providers.Reason) *lineLimiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.outages[reason] == nil {
		l.outages[reason] = &lineLimiter{
			limiter: rate.NewLimiter(rate.Every(outageInterval), 1), logger: l.logger, kind: string(reason),
		}
	}
	return l.outages[reason]
}

// lineLimiter limits one kind of line.
type lineLimiter struct {
	limiter *rate.Limiter
	logger  *slog.Logger
	kind    string
	dropped atomic.Int64
}

func (l *lineLimiter) allow() bool {
	if !l.limiter.Allow() {
		l.dropped.Add(1)
		return false
	}
	if n := l.dropped.Swap(0); n > 0 {
		l.logger.Warn("requests omitted from the log", "of", l.kind, "count", n)
	}
	return true
}
