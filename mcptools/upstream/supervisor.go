package upstream

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"gatehouse/providers"
)

// backoff is when an upstream is connected to again.
type backoff struct {
	// first is the wait after the first loss; it doubles after each further one, up to max.
	first, max time.Duration
	// reset is how long a session must last for the next wait to be first again.
	reset time.Duration
}

// processBackoff is for processes, whose start is expensive; httpBackoff is for URLs, where an attempt is a request.
var (
	processBackoff = backoff{first: time.Second, max: time.Minute, reset: time.Minute}
	httpBackoff    = backoff{first: 100 * time.Millisecond, max: 10 * time.Second, reset: 10 * time.Second}
)

// wait returns the time to wait after a number of losses in a row, with jitter: several servers that lost the same
// upstream must not return together.
func (b backoff) wait(losses int) time.Duration {
	d := b.first
	for range losses - 1 {
		if d *= 2; d >= b.max {
			d = b.max
			break
		}
	}
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// connector makes sessions with one upstream.
type connector struct {
	client  client
	open    func(user string) (link, error) // user is the key of a process's user
	timeout time.Duration                   // of a start
	hurry   <-chan struct{}                 // closed when processes must end at once
	logger  *slog.Logger
}

// startError is why a session could not be made.
type startError struct {
	cause  error
	output []string // the last lines of the process
}

// Error implements error.
func (e *startError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *startError) Unwrap() error { return e.cause }

// reason classifies the error for the status.
func (e *startError) reason() providers.Reason {
	if reason := reasonOf(e.cause); reason != "" {
		return reason
	}
	return ReasonUnavailable
}

// isTemporary reports whether the upstream answered that it is not ready.
func (e *startError) isTemporary() bool {
	status, _ := errors.AsType[statusError](e.cause)
	return status.isTemporary()
}

// connect starts a process, or connects by HTTP.
func (c connector) connect(ctx context.Context, user string) (*session, []Definition, *startError) {
	l, err := c.open(user)
	if err != nil {
		return nil, nil, &startError{cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	s, definitions, err := c.client.connect(ctx, l)
	if err == nil {
		return s, definitions, nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errNotSent(errors.New("it does not answer in time"))
	}
	l.close(c.hurry)
	return nil, nil, &startError{cause: err, output: l.output()}
}

// supervisor keeps one session with an upstream, which all callers share.
type supervisor struct {
	connector
	backoff backoff
	// waits makes calls wait for the first attempt after a loss: by HTTP it is short, and often succeeds.
	waits bool
	// isAwaited makes an error before the first session one that first returns, so that it need not be logged.
	isAwaited bool
	// onStart is called with what the upstream lists at the start of each session.
	onStart func([]Definition)

	mu       sync.Mutex
	current  *session
	last     *session      // the one before, or current
	changed  chan struct{} // closed at the next change of what follows, and of current
	failures int           // attempts that failed, in total
	lastErr  *startError
	state    State
	restarts int
}

func newSupervisor(c connector, b backoff, onStart func([]Definition)) *supervisor {
	return &supervisor{
		connector: c, backoff: b, onStart: onStart, changed: make(chan struct{}), state: StateConnecting,
	}
}

// run keeps the session until ctx ends, and then closes it.
func (s *supervisor) run(ctx context.Context) {
	for losses := 1; ctx.Err() == nil; losses++ {
		started, definitions, err := s.connect(ctx, "")
		switch {
		case err == nil:
			s.onStart(definitions)
			if s.keep(ctx, started) >= s.backoff.reset {
				losses = 1
			}
		case ctx.Err() == nil:
			s.fail(err)
		}
		sleep(ctx, s.backoff.wait(losses))
	}
}

// keep publishes a session until it is lost or ctx ends, closes it, and returns how long it lasted.
func (s *supervisor) keep(ctx context.Context, started *session) (lasted time.Duration) {
	began := time.Now()
	s.publish(started)
	select {
	case <-started.lost():
	case <-ctx.Done():
	}
	lasted = time.Since(began)
	s.withdraw(ctx, started)
	return lasted
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// change changes the state, and wakes those who wait for a change.
func (s *supervisor) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *supervisor) publish(started *session) {
	s.logger.Info("an upstream is ready", "era", started.version, "server", started.server)
	s.change(func() {
		if s.last != nil {
			s.restarts++
		}
		s.current, s.last, s.state, s.lastErr = started, started, StateReady, nil
		started.failures = s.failures
	})
}

// withdraw ends a session. It returns when its process has ended.
func (s *supervisor) withdraw(ctx context.Context, ended *session) {
	s.change(func() { s.current, s.state = nil, StateRestarting })
	ended.close(s.hurry)
	if ctx.Err() == nil {
		s.logger.Warn("an upstream was lost", "reason", ReasonLost, "error", ended.cause(), "stderr", ended.output())
	}
}

func (s *supervisor) fail(err *startError) {
	level := slog.LevelWarn
	switch {
	case s.isAwaited && s.last == nil && !err.isTemporary():
		level = slog.LevelDebug
	case s.lastErr != nil && s.lastErr.Error() == err.Error():
		level = slog.LevelDebug // it was logged, and an upstream may be down for days
	}
	s.logger.Log(context.Background(), level, "an upstream cannot be reached", "reason", err.reason(), "error", err,
		"stderr", err.output)
	s.change(func() { s.state, s.lastErr, s.failures = StateDown, err, s.failures+1 })
}

// acquire implements source.
func (s *supervisor) acquire(ctx context.Context, _ *providers.Identity) (*session, func(), error) {
	s.mu.Lock()
	current, last, state := s.current, s.last, s.state
	s.mu.Unlock()
	switch {
	case current != nil:
	case s.waits && state == StateRestarting:
		var err error
		if current, err = s.next(ctx, last); err != nil {
			return nil, nil, err
		}
	default:
		return nil, nil, errNotSent(errors.New("there is no session"))
	}
	return current, func() {}, nil
}

// next implements source. It waits for a session other than old, until an attempt has failed. old is nil for the first.
func (s *supervisor) next(ctx context.Context, old *session) (*session, error) {
	failures := 0
	if old != nil {
		failures = old.failures
	}
	for {
		s.mu.Lock()
		current, now, err, changed := s.current, s.failures, s.lastErr, s.changed
		s.mu.Unlock()
		switch {
		case current != nil && current != old:
			return current, nil
		case now > failures:
			return nil, errNotSent(err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// first waits for the first session. It fails with the first attempt, unless the upstream answered that it is not
// ready: one that verifies the token of this server may have to fetch its keys.
func (s *supervisor) first(ctx context.Context) *startError {
	deadline := time.Now().Add(s.timeout)
	for failures := 0; ; failures++ {
		_, err := s.next(ctx, &session{failures: failures})
		if err == nil {
			return nil
		}
		failed, isFailed := errors.AsType[*startError](err)
		if !isFailed {
			return &startError{cause: err} // of ctx
		}
		if !failed.isTemporary() || time.Now().After(deadline) {
			return failed
		}
	}
}

// status implements source.
func (s *supervisor) status(to *Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to.State, to.Restarts = s.state, s.restarts
	if s.last != nil {
		to.Era, to.Server = s.last.version, s.last.server
	}
	switch {
	case s.lastErr != nil:
		to.Reason = s.lastErr.reason()
	case s.state == StateRestarting:
		to.Reason = ReasonLost
	}
}
