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

// throttle slows down the reading of everything but responses, progress included (MCP 2025-11-25, Progress, asks for a
// limit): an upstream that writes without a pause would keep a processor busy. It has to wait until this is read.
type throttle struct{ lines *rate.Limiter }

const (
	// lineRate is how many lines are read each second. A longer line counts once for each bytesOfLine.
	lineRate    = 10_000
	bytesOfLine = 1 << 10
	// lineBurst is how many are read at once. A server that logs its start needs fewer.
	lineBurst = 2 * lineRate
)

func newThrottle() throttle { return throttle{rate.NewLimiter(lineRate, lineBurst)} }

// wait waits after a line of so many bytes, or until done is closed.
func (t throttle) wait(bytes int, done <-chan struct{}) {
	n := min(1+bytes/bytesOfLine, t.lines.Burst())
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
