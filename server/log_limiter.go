package server

import (
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/providers"
)

// Limits of log lines that no authenticated caller is responsible for: enough to diagnose a problem, too few
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
	// refusals are requests that were rejected, or served without a token.
	refusals lineLimiter
	// faults are responses with a status of 500 or above other than 503. They have their own limit, so that
	// refusals do not hide them.
	faults lineLimiter

	mu      sync.Mutex
	outages map[providers.Reason]*lineLimiter
	logger  *slog.Logger
}

func newLogLimiter(logger *slog.Logger) *logLimiter {
	usual := func() *rate.Limiter { return rate.NewLimiter(linesPerSecond, lineBurst) }
	return &logLimiter{
		refusals: lineLimiter{limiter: usual(), logger: logger, kind: "refusals"},
		faults:   lineLimiter{limiter: usual(), logger: logger, kind: "faults"},
		outages:  map[providers.Reason]*lineLimiter{},
		logger:   logger,
	}
}

// allow reports whether to log a request.
func (b *logLimiter) allow(v *requestState, status int) bool {
	switch {
	case status == http.StatusServiceUnavailable && isOutage(v.reason) && v.Context.Err() == nil:
		return b.outageLimiter(v.reason).allow()
	case status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable:
		return b.faults.allow()
	case status >= http.StatusBadRequest || v.identity == nil:
		return b.refusals.allow()
	}
	return true
}

// isOutage reports whether a request was rejected because the provider is unavailable.
func isOutage(reason providers.Reason) bool {
	return reason == providers.KeysUnavailable || reason == providers.IntrospectionUnavailable
}

func (b *logLimiter) outageLimiter(reason providers.Reason) *lineLimiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.outages[reason] == nil {
		b.outages[reason] = &lineLimiter{
			limiter: rate.NewLimiter(rate.Every(outageInterval), 1), logger: b.logger, kind: string(reason),
		}
	}
	return b.outages[reason]
}

// lineLimiter limits one kind of line.
type lineLimiter struct {
	limiter *rate.Limiter
	logger  *slog.Logger
	kind    string
	dropped atomic.Int64
}

func (b *lineLimiter) allow() bool {
	if !b.limiter.Allow() {
		b.dropped.Add(1)
		return false
	}
	if n := b.dropped.Swap(0); n > 0 {
		b.logger.Warn("requests omitted from the log", "of", b.kind, "count", n)
	}
	return true
}
