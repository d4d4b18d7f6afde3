package server

import (
	"log/slog"

	"golang.org/x/time/rate"
)

// Shared is what outlives a configuration: [New] assembles a server for each configuration of a process, and all
// of them use the same counters of failed authentications, of log lines and of audit records.
type Shared struct {
	throttle   *throttle
	logLimiter *logLimiter
	// deniedRecords limits the audit records of denied callers.
	deniedRecords *rate.Limiter
}

// NewShared returns the shared state of a process. logger must not be nil.
func NewShared(s Settings, logger *slog.Logger) *Shared {
	return &Shared{
		throttle: newThrottle(s.FailedAuthPerMinute), logLimiter: newLogLimiter(logger),
		deniedRecords: rate.NewLimiter(linesPerSecond, lineBurst),
	}
}

// SetLimits makes the limits of s apply, also to addresses that are counted already.
func (s *Shared) SetLimits(settings Settings) { s.throttle.setLimit(settings.FailedAuthPerMinute) }
