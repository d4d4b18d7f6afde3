package upstream

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/providers"
)

// stderrTail reads what a process writes to stderr, and keeps the last lines: they say why it ended.
type stderrTail struct {
	mu    sync.Mutex
	lines []string
}

const (
	maxStderrLine  = 512 // bytes of a line that is kept
	maxStderrLines = 20
)

// drain reads until there is no writer left: a process whose stderr is not read stops at a full pipe. At level debug,
// a few lines each second are logged. It reads without pauses once ended is closed.
func (t *stderrTail) drain(from io.Reader, logger *slog.Logger, ended <-chan struct{}) {
	lines, limit := newLineReader(from, maxStderrLine), rate.NewLimiter(rate.Every(time.Second/20), 20)
	pauses := newThrottle()
	for ; ; pauses.wait(0, ended) {
		l, err := lines.next()
		switch {
		case errors.Is(err, errEndlessLine):
			continue
		case err != nil:
			return
		case l.tooLong:
			l.text = l.head[:min(len(l.head), maxStderrLine)]
		}
		text := providers.Printable(string(l.text), maxStderrLine)
		t.add(text)
		if limit.Allow() {
			logger.Debug("stderr of an upstream", "line", text)
		}
	}
}

func (t *stderrTail) add(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == maxStderrLines {
		t.lines = slices.Delete(t.lines, 0, 1)
	}
	t.lines = append(t.lines, text)
}

// last returns the last lines.
func (t *stderrTail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}
