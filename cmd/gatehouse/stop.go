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
	// stopMargin is how much longer than the drain time and the shutdown timeout the process lives after a
	// signal. It is longer than [server.StopMargin], because the server knows better what hangs.
	stopMargin = 1500 * time.Millisecond
	// lastLineTime is how long the last line of the log may take: the log itself may be what hangs.
	lastLineTime = 250 * time.Millisecond
)

// stopLimit ends a command that goes on after the signal that should end it. A nil stopLimit has no effect.
type stopLimit struct {
	stderr io.Writer

	mu      sync.Mutex
	orderly time.Duration // what an orderly stop may take
	logger  *slog.Logger  // nil until the configuration was read
	step    string        // what the command does now
}

// serving tells how long an orderly stop may take, and where to log.
func (l *stopLimit) serving(s server.Settings, logger *slog.Logger) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orderly, l.logger = s.DrainTime+s.ShutdownTimeout, logger
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
	return l.orderly + stopMargin
}

// run returns the exit code of command, or exitHung if command goes on for too long after ctx ended. The
// caller then ends the process.
func (l *stopLimit) run(ctx context.Context, command func() int) int {
	done := make(chan int, 1)
	go func() { done <- command() }()
	select {
	case code := <-done:
		return code
	case <-ctx.Done():
	}
	began := time.Now()
	// The limit grows when a command reads its configuration after the signal came.
	for rest := l.limit(); rest > 0; rest = l.limit() - time.Since(began) {
		select {
		case code := <-done:
			return code
		case <-time.After(rest):
		}
	}
	l.report()
	return exitHung
}

// report says what did not end, in one line.
func (l *stopLimit) report() {
	l.mu.Lock()
	logger, step, after := l.logger, l.step, l.orderly+stopMargin
	l.mu.Unlock()
	written := make(chan struct{})
	go func() {
		defer close(written)
		if logger == nil {
			fmt.Fprintf(l.stderr, "gatehouse: ended by force %s after the signal, because this did not end: %s\n",
				after, step)
			return
		}
		logHung(logger, after, []string{step})
	}()
	select {
	case <-written:
	case <-time.After(lastLineTime):
	}
}

// logHung is the last line of a process that something kept from stopping.
func logHung(logger *slog.Logger, after time.Duration, pending []string) {
	logger.Error("stopped by force", "after", after, "did_not_end", pending)
}

// stopped logs how the server ended and returns the exit code.
func stopped(logger *slog.Logger, err error) int {
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
