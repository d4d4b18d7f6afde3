package mcphttp

import (
	"context"
	"sync/atomic"
	"time"
)

// probeInterval is how often the lock of the SDK's server is acquired as a test, and stuckAfter is how long that may
// take. The lock is normally held for microseconds: after seconds, it will not be released any more.
const (
	probeInterval = 5 * time.Second
	stuckAfter    = 10 * time.Second
)

// lockProbe detects a lock that is not released. It acquires the lock repeatedly in one goroutine, so that a stuck
// lock costs one goroutine and not one for each health check.
type lockProbe struct {
	waitingSince atomic.Int64 // Unix nanoseconds; 0 while the probe does not wait for the lock
}

// run probes until ctx ends. acquire acquires the lock and releases it.
func (p *lockProbe) run(ctx context.Context, acquire func()) {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		p.waitingSince.Store(time.Now().UnixNano())
		acquire()
		p.waitingSince.Store(0)
	}
}

func (p *lockProbe) isStuck() bool {
	since := p.waitingSince.Load()
	return since != 0 && time.Since(time.Unix(0, since)) > stuckAfter
}

// Probe acquires the lock of the SDK's server every five seconds until ctx ends, for [Handler.IsStuck].
func (h *Handler) Probe(ctx context.Context) {
	h.probe.run(ctx, func() { h.server.Sessions() })
}

// IsStuck reports whether the lock of the SDK's server has not been available for ten seconds: no request can be
// served until the process restarts. Without [Handler.Probe] it is always false.
func (h *Handler) IsStuck() bool { return h.probe.isStuck() }
