package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// Lifecycle is what [Serve] calls when the server stops. Each may be nil. None delays the stop when it hangs.
type Lifecycle struct {
	// Draining is called first. From then on the server must say that it is not ready; it goes on serving for the drain
	// time, so that whatever sends traffic can send it elsewhere.
	Draining func()
	// Closing is called when the drain time is over. Open streams must end; calls in flight finish.
	Closing func()
	// Closed is called when no call is in flight any more, or the shutdown timeout is over. What is left must
	// end.
	Closed func()
}

// StopMargin is how much longer than drain time and shutdown timeout together a stop takes at most.
const StopMargin = time.Second

// hookTime is how long the stop waits for a step that should take no time before it goes on without.
const hookTime = 200 * time.Millisecond

// StopError says which steps of a stop had not ended when its time was over.
type StopError struct {
	// Pending are the steps: log, drain, streams, calls, sessions.
	Pending []string
	// After is how long the stop took.
	After time.Duration
}

// Error implements error.
func (e *StopError) Error() string {
	pending := strings.Join(e.Pending, ", ")
	return fmt.Sprintf("after %s these steps of the stop had not ended: %s", e.After, pending)
}

// Serve answers requests on ln until ctx ends, and then stops in order: it drains, closes streams, lets calls in flight
// finish, and cuts off what is left after the shutdown timeout. It returns nil after an orderly stop. It returns within
// drain time, shutdown timeout and [StopMargin], whatever hangs; then the error is a [StopError]. ln must accept plain
// TCP connections; how many are open at once is bounded by the settings.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, s Settings, logger *slog.Logger, l Lifecycle) error {
	open := newConnections(s, logger)
	srv := &http.Server{
		Handler:           h,
		ConnState:         open.setState,
		ConnContext:       connContext,
		ReadHeaderTimeout: s.ReadHeaderTimeout,
		IdleTimeout:       s.IdleTimeout,
		MaxHeaderBytes:    s.MaxHeaderBytes,
		// No WriteTimeout: it would cut event streams and slow tools (go-sdk issue 1262).
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	// The wrapper that sets options of the raw connection is the inner one.
	go func() { failed <- srv.Serve(open.limit(impatientListener{ln})) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	limit := s.DrainTime + s.ShutdownTimeout + StopMargin
	over, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	stop := stopping{over: over}

	stop.run("drain", hookTime, l.Draining)
	stop.run("log", hookTime, func() { logger.Info("stopping", "drain_time", s.DrainTime) })
	select {
	case err := <-failed:
		return err
	case <-time.After(s.DrainTime):
	}
	stop.run("streams", hookTime, l.Closing)
	result := make(chan error, 1)
	stop.run("calls", s.ShutdownTimeout+hookTime, func() { result <- shutdown(srv, failed, s.ShutdownTimeout, logger) })
	stop.run("sessions", limit, l.Closed)
	if pending := stop.pending(); len(pending) > 0 {
		return &StopError{Pending: pending, After: limit}
	}
	return <-result
}

// shutdown lets calls in flight finish, and cuts them off when they take too long.
func shutdown(srv *http.Server, failed <-chan error, timeout time.Duration, logger *slog.Logger) error {
	grace, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		_ = srv.Close() // Shutdown's error is the one that counts
		logger.Warn("calls in flight were cut off", "after", timeout)
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		return served
	}
	return err
}

// stopping runs the steps of a stop, none of which may keep it from ending.
type stopping struct {
	over  context.Context // ends when the time for all steps is over
	steps []stopStep
}

type stopStep struct {
	name string
	done chan struct{} // closed when the step has ended
}

// run runs a step and waits for its end, for this long at most.
func (s *stopping) run(name string, longest time.Duration, step func()) {
	if step == nil {
		return
	}
	done := make(chan struct{})
	s.steps = append(s.steps, stopStep{name, done})
	go func() {
		defer close(done)
		step()
	}()
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-s.over.Done():
	}
}

// pending waits until every step has ended or the time for all is over, and returns those that have not
// ended.
func (s *stopping) pending() []string {
	var names []string
	for _, step := range s.steps {
		select {
		case <-step.done:
			continue
		case <-s.over.Done():
		}
		select {
		case <-step.done: // both were ready
		default:
			names = append(names, step.name)
		}
	}
	return names
}
