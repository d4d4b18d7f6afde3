package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"gatehouse/server"
)

const (
	// stopMargin is how long the process may live after a signal, in addition to the drain time and the
	// shutdown timeout. It is longer than [server.StopMargin], so that the server can report which part
	// hangs.
	stopMargin = 1500 * time.Millisecond
	// lastLineTimeout limits writing the last log line, because the log itself may hang.
	lastLineTimeout = 250 * time.Millisecond
)

// stopLimit ends a command that does not return in time after a signal. A nil stopLimit has no effect.
type stopLimit struct {
	stderr io.Writer

	mu       sync.Mutex
	graceful time.Duration // how long a graceful stop may take
	logger   *slog.Logger  // nil until the configuration is loaded
	step     string        // what the command is doing
}

// configure sets how long a graceful stop may take, and where to log.
func (l *stopLimit) configure(s server.Settings, logger *slog.Logger) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.graceful, l.logger = s.DrainTime+s.ShutdownTimeout, logger
}

// begin names what the command does from now on.
func (l *stopLimit) begin(step string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step = step
}

func (l *stopLimit) limit() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.graceful + stopMargin
}

// run returns the exit code of command, or exitHung if command does not return in time after ctx is done. The caller
// then exits.
func (l *stopLimit) run(ctx context.Context, command func() int) int {
	done := make(chan int, 1)
	go func() { done <- command() }()
	select {
	case code := <-done:
		return code
	case <-ctx.Done():
	}
	signaled, limit := time.Now(), l.limit()
	// The limit grows when a command loads its configuration after the signal. A reload that ends then may lower it,
	// but the stop has begun with the longer time.
	for rest := limit; rest > 0; rest = limit - time.Since(signaled) {
		select {
		case code := <-done:
			return code
		case <-time.After(rest):
		}
		limit = max(limit, l.limit())
	}
	l.report()
	return exitHung
}

// report writes one line that names what did not end.
func (l *stopLimit) report() {
	l.mu.Lock()
	logger, step, after := l.logger, l.step, l.graceful+stopMargin
	l.mu.Unlock()
	written := make(chan struct{})
	go func() {
		defer close(written)
		if logger == nil {
			fmt.Fprintf(l.stderr, "gatehouse: stopped by force %s after the signal; did not end: %s\n", after, step)
			return
		}
		logHung(logger, after, []string{step})
	}()
	select {
	case <-written:
	case <-time.After(lastLineTimeout):
	}
}

// logHung writes the last log line of a process that did not stop gracefully.
func logHung(logger *slog.Logger, after time.Duration, pending []string) {
	logger.Error("stopped by force", "after", after, "did_not_end", pending)
}

// logStopped logs how the server ended, and returns the exit code.
func logStopped(logger *slog.Logger, err error) int {
	if hung, ok := errors.AsType[*server.StopError](err); ok {
		logHung(logger, hung.After, hung.Pending)
		return exitHung
	}
	if err != nil {
		logger.Error("stopped", "error", err)
		return exitFailure
	}
	logger.Info("stopped")
	return exitOK
}
