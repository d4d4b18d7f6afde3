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

// How much of the log may be filled by refusals, and by requests without a token: enough to see what goes on,
// too little to fill a disk. Every request is counted in [Outcomes] nevertheless.
const (
	linesPerSecond = 20
	linesAtOnce    = 500
	// outageInterval is how often an outage of the provider is written: any token causes such a refusal, and
	// all say the same.
	outageInterval = time.Minute
)

// logBudget leaves lines out of the log when there are too many of a kind, and says how many it left out.
// Only what a caller with a good token was served is always written.
type logBudget struct {
	// refusals are requests without a good token, refused or not.
	refusals lineBudget
	// callers are requests of signed-in callers that were refused. Strangers must not be able to hide them.
	callers lineBudget
	// faults are answers with a status from 500, other than 503. They have a budget of their own, so that
	// refusals do not hide them.
	faults lineBudget

	mu      sync.Mutex
	outages map[providers.Reason]*lineBudget
	logger  *slog.Logger
}

func newLogBudget(logger *slog.Logger) *logBudget {
	usual := func() *rate.Limiter { return rate.NewLimiter(linesPerSecond, linesAtOnce) }
	return &logBudget{
		refusals: lineBudget{limiter: usual(), logger: logger, of: "refusals"},
		callers:  lineBudget{limiter: usual(), logger: logger, of: "refusals of signed-in callers"},
		faults:   lineBudget{limiter: usual(), logger: logger, of: "faults"},
		outages:  map[providers.Reason]*lineBudget{},
		logger:   logger,
	}
}

// allow reports whether a request is worth a line.
func (b *logBudget) allow(v *visit, status int) bool {
	switch {
	case status == http.StatusServiceUnavailable && isOutage(v.reason) && v.Context.Err() == nil:
		return b.outage(v.reason).allow()
	case status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable:
		return b.faults.allow()
	case v.identity == nil:
		return b.refusals.allow()
	case status >= http.StatusBadRequest:
		return b.callers.allow()
	}
	return true
}

// isOutage reports whether a request was refused because the provider cannot be asked.
func isOutage(reason providers.Reason) bool {
	return reason == providers.KeysUnavailable || reason == providers.IntrospectionUnavailable
}

func (b *logBudget) outage(reason providers.Reason) *lineBudget {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.outages[reason] == nil {
		b.outages[reason] = &lineBudget{limiter: rate.NewLimiter(rate.Every(outageInterval), 1), logger: b.logger, of: string(reason)}
	}
	return b.outages[reason]
}

// lineBudget is the budget of one kind of lines.
type lineBudget struct {
	limiter *rate.Limiter
	logger  *slog.Logger
	of      string
	leftOut atomic.Int64
}

func (b *lineBudget) allow() bool {
	if !b.limiter.Allow() {
		b.leftOut.Add(1)
		return false
	}
	if n := b.leftOut.Swap(0); n > 0 {
		b.logger.Warn("requests were left out of the log", "of", b.of, "count", n)
	}
	return true
}
