package upstream

import (
	"time"

	"golang.org/x/time/rate"
)

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
