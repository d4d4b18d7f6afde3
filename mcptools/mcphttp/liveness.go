package mcphttp

import (
	"context"
	"sync/atomic"
	"time"
)

// probeInterval is how often the lock of the SDK's server is taken on trial, and stuckAfter is how long that may take.
// The lock is held for microseconds as a rule: after seconds, no one gives it back.
const (
	probeInterval = 5 * time.Second
	stuckAfter    = 10 * time.Second
)

// lockProbe finds out whether a lock can still be taken. It takes the lock again and again in one goroutine, so that a
// lock that is held for ever costs one goroutine and not one for each question about it.
type lockProbe struct {
	waitingSince atomic.Int64 // Unix nanoseconds; 0 while the probe does not wait for the lock
}

// run probes until ctx ends. takeLock takes the lock and gives it back.
func (p *lockProbe) run(ctx context.Context, takeLock func()) {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		p.waitingSince.Store(time.Now().UnixNano())
		takeLock()
		p.waitingSince.Store(0)
	}
}

func (p *lockProbe) isStuck() bool {
	since := p.waitingSince.Load()
	return since != 0 && time.Since(time.Unix(0, since)) > stuckAfter
}

// Probe takes the lock of the SDK's server every five seconds until ctx ends, for [Handler.IsStuck].
func (h *Handler) Probe(ctx context.Context) {
	h.probe.run(ctx, func() { h.server.Sessions() })
}

// IsStuck reports whether the lock of the SDK's server has not been available for ten seconds: no request is served any
// more, and only a new process helps. Without [Handler.Probe] it never does.
func (h *Handler) IsStuck() bool { return h.probe.isStuck() }
