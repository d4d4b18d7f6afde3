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

// Lifecycle holds the hooks that [Serve] calls when the server stops. Each may be nil. A hook that hangs
// does not delay the stop.
type Lifecycle struct {
	// Draining is called first. From then on the server must report that it is not ready; it keeps serving
	// for the drain time, so that load balancers can move traffic elsewhere.
	Draining func()
	// Closing is called after the drain time. Open streams must end; calls in flight finish.
	Closing func()
	// Closed is called when no call is in flight, or after the shutdown timeout. Everything still open must
	// end.
	Closed func()
	// Settings returns the settings in force, if they can change: the limits of connections are those at the time
	// of a new one, and drain time and shutdown timeout those at the time of the stop. Nil means that the settings
	// of [Serve] stay.
	Settings func() Settings
}

// StopMargin is the maximum time that a stop takes beyond drain time and shutdown timeout.
const StopMargin = time.Second

// hookTimeout is how long the stop waits for a hook that should return at once before it continues without
// it.
const hookTimeout = 200 * time.Millisecond

// StopError reports which steps of a stop had not ended within its time limit.
type StopError struct {
	// Pending are the names of the steps: log, drain, streams, calls, sessions.
	Pending []string
	// After is how long the stop took.
	After time.Duration
}

// Error implements error.
func (e *StopError) Error() string {
	pending := strings.Join(e.Pending, ", ")
	return fmt.Sprintf("after %s these steps of the stop had not ended: %s", e.After, pending)
}

// Serve answers requests on ln until ctx is done, and then stops in order: it drains, closes streams, lets
// calls in flight finish, and aborts those that remain after the shutdown timeout. It returns nil after an
// orderly stop. It returns within drain time, shutdown timeout and [StopMargin] even if a step hangs; the
// error is then a [StopError]. ln must accept plain TCP connections; the settings limit how many are open at
// once.
func Serve(
	ctx context.Context, ln net.Listener, h http.Handler, s Settings, logger *slog.Logger, l Lifecycle,
) error {
	if l.Settings == nil {
		l.Settings = func() Settings { return s }
	}
	conns := newConnections(l.Settings, logger)
	srv := &http.Server{
		Handler:           h,
		ConnState:         conns.setState,
		ConnContext:       connContext,
		ReadHeaderTimeout: s.ReadHeaderTimeout,
		IdleTimeout:       s.IdleTimeout,
		MaxHeaderBytes:    s.MaxHeaderBytes,
		// net/http would answer OPTIONS * itself, whatever the Host, and without a line in the log.
		DisableGeneralOptionsHandler: true,
		// No WriteTimeout: it would cut event streams and slow tools (go-sdk issue 1262).
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	// userTimeoutListener is the inner one, because it sets options of the raw connection.
	go func() { failed <- srv.Serve(conns.limit(userTimeoutListener{ln})) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	atStop := l.Settings()
	limit := atStop.DrainTime + atStop.ShutdownTimeout + StopMargin
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	stop := stopSequence{deadline: deadline}

	stop.run("drain", hookTimeout, l.Draining)
	stop.run("log", hookTimeout, func() { logger.Info("stopping", "drain_time", atStop.DrainTime) })
	select {
	case err := <-failed:
		return err
	case <-time.After(atStop.DrainTime):
	}
	stop.run("streams", hookTimeout, l.Closing)
	result := make(chan error, 1)
	stop.run("calls", atStop.ShutdownTimeout+hookTimeout, func() {
		result <- shutdown(srv, failed, atStop.ShutdownTimeout, logger)
	})
	stop.run("sessions", limit, l.Closed)
	if pending := stop.pending(); len(pending) > 0 {
		return &StopError{Pending: pending, After: limit}
	}
	return <-result
}

// shutdown lets calls in flight finish, and aborts them after the timeout.
func shutdown(srv *http.Server, failed <-chan error, timeout time.Duration, logger *slog.Logger) error {
	grace, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		_ = srv.Close() // the error of Shutdown is returned
		logger.Warn("calls in flight were cut off", "after", timeout)
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		return served
	}
	return err
}

// stopSequence runs the steps of a stop. A step that hangs does not prevent the others.
type stopSequence struct {
	deadline context.Context // done when the time for all steps has passed
	steps    []stopStep
}

type stopStep struct {
	name string
	done chan struct{} // closed when the step has ended
}

// run runs a step and waits until it has ended, at most for timeout.
func (s *stopSequence) run(name string, timeout time.Duration, step func()) {
	if step == nil {
		return
	}
	done := make(chan struct{})
	s.steps = append(s.steps, stopStep{name, done})
	go func() {
		defer close(done)
		step()
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-s.deadline.Done():
	}
}

// pending waits until every step has ended or the deadline has passed, and returns the names of those that
// have not ended.
func (s *stopSequence) pending() []string {
	var names []string
	for _, step := range s.steps {
		select {
		case <-step.done:
			continue
		case <-s.deadline.Done():
		}
		select {
		case <-step.done: // both channels were ready
		default:
			names = append(names, step.name)
		}
	}
	return names
}
