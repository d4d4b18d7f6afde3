package upstream

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// counters count what an upstream writes that has no use: what is no message, and messages that nothing waits for.
type counters struct {
	noise, stray atomic.Int64
	throttle     throttle
	logger       *slog.Logger
	once         sync.Once
}

// addNoise counts what is no message, and logs the first. The text is not logged, because it may have secrets.
func (c *counters) addNoise() {
	c.noise.Add(1)
	c.once.Do(func() {
		c.logger.Warn("an upstream writes something other than messages where only messages belong; it is skipped")
	})
}

// throttle slows down the reading of what has no use: without it, an upstream that writes nothing else keeps a
// processor busy. The upstream has to wait until what it wrote is read.
type throttle struct{ lines *rate.Limiter }

const (
	// uselessLines is how many lines without a use are read each second. A longer line counts once for each
	// uselessBytes.
	uselessLines = 10_000
	uselessBytes = 1 << 10
	// uselessBurst is how many are read at once. A server that logs its start needs fewer.
	uselessBurst = 2 * uselessLines
)

func newThrottle() throttle { return throttle{rate.NewLimiter(uselessLines, uselessBurst)} }

// wait waits after a line of so many bytes had no use, or until done is closed.
func (t throttle) wait(bytes int, done <-chan struct{}) {
	n := min(1+bytes/uselessBytes, t.lines.Burst())
	d := t.lines.ReserveN(time.Now(), n).Delay()
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}
