package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"gatehouse/providers"
)

// userKey identifies a caller at a process of its own. It is the same in every replica, and safe in a path.
func userKey(id *providers.Identity) string {
	sum := sha256.Sum256([]byte(id.Principal()))
	return hex.EncodeToString(sum[:16])
}

// pool keeps a session for each caller: upstreams.NAME.processes is per_user.
type pool struct {
	connector
	backoff backoff
	max     int
	idle    time.Duration
	done    context.Context // of the pool
	onStart func([]Definition)

	mu       sync.Mutex
	members  map[string]*member
	delays   map[string]delay // of users whose processes ended too early
	lastErr  *startError
	server   string
	version  string
	restarts int
	running  sync.WaitGroup
}

// member is the process of one caller.
type member struct {
	key     string
	ready   chan struct{} // closed when the start has succeeded or failed
	closed  chan struct{} // closed when the process has ended
	end     context.CancelFunc
	session *session // set before ready is closed; nil if the start failed
	err     error    // likewise

	// The mutex of the pool guards these.
	calls    int // in flight, those that wait for the start included
	lastUsed time.Time
	isEnding bool
}

// delay is when the process of a user may start again.
type delay struct {
	losses int
	until  time.Time
}

func newPool(done context.Context, c connector, b backoff, s Settings, onStart func([]Definition)) *pool {
	return &pool{
		connector: c, backoff: b, max: s.MaxProcesses, idle: s.Idle, done: done, onStart: onStart,
		members: map[string]*member{}, delays: map[string]delay{},
	}
}

// acquire implements source. It starts the process of the caller if it does not run.
func (p *pool) acquire(ctx context.Context, caller *providers.Identity) (*session, func(), error) {
	key := userKey(caller)
	for {
		m, isEnding, err := p.join(key)
		if err != nil {
			return nil, nil, err
		}
		if !isEnding {
			select {
			case <-m.ready:
			case <-ctx.Done():
				p.leave(m)
				return nil, nil, ctx.Err()
			}
			if m.session != nil && !isClosed(m.session.lost()) {
				return m.session, func() { p.leave(m) }, nil
			}
			p.leave(m)
			if m.err != nil {
				return nil, nil, errNotSent(m.err)
			}
		}
		select { // the next process starts when nothing is left of this one
		case <-m.closed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// join adds a call to the process of a user, and starts it if necessary. A process that is ending gets no more calls.
func (p *pool) join(key string) (_ *member, isEnding bool, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.members[key]; m != nil {
		if !m.isEnding {
			m.calls++
		}
		return m, m.isEnding, nil
	}
	if p.done.Err() != nil {
		return nil, false, errNotSent(errors.New("this server stops"))
	}
	if time.Now().Before(p.delays[key].until) {
		return nil, false, errNotSent(errors.New("the last process of the caller ended too early"))
	}
	var victim *member
	if len(p.members) >= p.max {
		if victim = p.longestIdle(); victim == nil {
			return nil, false, errBusy("all processes are in use")
		}
		// The new member takes the place of the old one, which ends before the new process starts.
		delete(p.members, victim.key)
		victim.isEnding = true
		victim.end()
	}
	ctx, end := context.WithCancel(p.done)
	m := &member{key: key, calls: 1, ready: make(chan struct{}), closed: make(chan struct{}), end: end}
	p.members[key] = m
	p.running.Go(func() { p.serve(ctx, m, victim) })
	return m, false, nil
}

// longestIdle returns the member to end for another one: one that is ending already, or the one without calls that
// was used least recently; mu must be held.
func (p *pool) longestIdle() *member {
	var oldest *member
	for _, m := range p.members {
		if m.isEnding {
			return m
		}
		if m.calls == 0 && (oldest == nil || m.lastUsed.Before(oldest.lastUsed)) {
			oldest = m
		}
	}
	return oldest
}

// leave ends a call.
func (p *pool) leave(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.calls--
	m.lastUsed = time.Now()
}

// serve runs the process of a member.
func (p *pool) serve(ctx context.Context, m, victim *member) {
	defer close(m.closed)
	defer m.end()
	if victim != nil {
		<-victim.closed
	}
	began := time.Now()
	started, definitions, err := p.connect(ctx, m.key)
	if err != nil {
		p.fail(m, err)
		return
	}
	p.onStart(definitions)
	p.introduce(started.version, started.server)
	m.session = started
	close(m.ready)
	isLost := p.watch(ctx, m)
	started.close(p.hurry)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(m)
	if isLost {
		p.restarts++
		p.delayNext(m.key, time.Since(began))
		p.logger.Warn("the process of a caller was lost", "reason", ReasonLost, "error", started.cause(),
			"stderr", started.output())
	}
}

// introduce records what is known of the upstream after a start that succeeded.
func (p *pool) introduce(version, server string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr, p.version, p.server = nil, version, server
}

// watch waits until the process of a member ended, which it reports, or has to.
func (p *pool) watch(ctx context.Context, m *member) (isLost bool) {
	for {
		wait, isIdle := p.idleFor(m)
		if isIdle {
			return false
		}
		timer := time.NewTimer(wait)
		select {
		case <-m.session.lost():
			timer.Stop()
			return true
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

// idleFor reports whether a member has to end because it was idle for long, and otherwise when to ask again.
func (p *pool) idleFor(m *member) (wait time.Duration, isIdle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.calls > 0 {
		return p.idle, false
	}
	if wait = p.idle - time.Since(m.lastUsed); wait > 0 {
		return wait, false
	}
	m.isEnding = true
	return 0, true
}

func (p *pool) fail(m *member, err *startError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(m)
	m.err = err
	close(m.ready)
	if p.done.Err() != nil || m.isEnding { // it made room for another one
		return
	}
	p.lastErr = err
	p.delayNext(m.key, 0)
	p.logger.Warn("the process of a caller cannot be started", "reason", err.reason(), "error", err,
		"stderr", err.output)
}

// remove removes a member, unless another one has taken its place; mu must be held.
func (p *pool) remove(m *member) {
	if p.members[m.key] == m {
		delete(p.members, m.key)
	}
}

// maxDelays bounds the number of users whose delay is remembered.
const maxDelays = 1000

// delayNext records that a process ended early, after it ran for a time; mu must be held.
func (p *pool) delayNext(key string, ran time.Duration) {
	now := time.Now()
	if len(p.delays) >= maxDelays {
		for other, d := range p.delays {
			if now.After(d.until) {
				delete(p.delays, other)
			}
		}
	}
	d := p.delays[key]
	if ran >= p.backoff.reset || now.After(d.until.Add(p.backoff.reset)) {
		d.losses = 0
	}
	d.losses++
	d.until = now.Add(p.backoff.wait(d.losses))
	if len(p.delays) < maxDelays {
		p.delays[key] = d
	}
}

// next implements source: sessions with processes are never unknown to them.
func (p *pool) next(context.Context, *session) (*session, error) {
	return nil, errNotSent(errors.New("there is no other session"))
}

// run waits until the pool and all processes have ended.
func (p *pool) run(ctx context.Context) {
	<-ctx.Done()
	p.mu.Lock()
	for _, m := range p.members {
		m.end()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// status implements source.
func (p *pool) status(to *Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to.State, to.Restarts, to.Era, to.Server, to.Processes = StateReady, p.restarts, p.version, p.server, len(p.members)
	to.MaxProcesses = p.max
	if p.lastErr != nil {
		to.State, to.Reason = StateDown, p.lastErr.reason()
	}
}
