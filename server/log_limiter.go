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

// How much of the log may be filled by requests that no signed-in caller answers for: enough to see what goes
// on, too little to fill a disk. Every request is counted in [Outcomes] nevertheless.
const (
	linesPerSecond = 20
	lineBurst      = 500
	// outageInterval is how often an outage of the provider is written: any token causes such a refusal, and
	// all say the same.
	outageInterval = time.Minute
)

// logLimiter leaves lines out of the log when there are too many of a kind, and says how many it left out.
// Only what a caller with a good token was served is always written.
type logLimiter struct {
	// refusals are requests that were refused, or served without a token.
	refusals lineLimiter
	// faults are answers with a status from 500, other than 503. They have a budget of their own, so that
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

// allow reports whether a request is worth a line.
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

// isOutage reports whether a request was refused because the provider cannot be asked.
func isOutage(reason providers.Reason) bool {
	return reason == providers.KeysUnavailable || reason == providers.IntrospectionUnavailable
}

func (b *logLimiter) outageLimiter(reason providers.Reason) *lineLimiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.outages[reason] == nil {
		b.outages[reason] = &lineLimiter{limiter: rate.NewLimiter(rate.Every(outageInterval), 1), logger: b.logger, kind: string(reason)}
	}
	return b.outages[reason]
}

// lineLimiter is the budget of one kind of lines.
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
		b.logger.Warn("requests were left out of the log", "of", b.kind, "count", n)
	}
	return true
}
