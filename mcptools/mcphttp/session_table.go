package mcphttp

import (
	lru "container/list"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// sessionTable has all open sessions. Each costs a goroutine and some kilobytes until it ends, so their number is
// limited, for each caller and in total. At a limit, the least recently used idle session is ended to make room: some
// clients open a session for nearly every request and end none, and a client whose session has ended opens a new one
// on 404 (MCP 2025-11-25, Transports, Session Management).
type sessionTable struct {
	// mu is never held while another lock is acquired.
	mu                   sync.Mutex
	maxPerUser, maxTotal int
	callTimeout          time.Duration
	open                 map[string]*session
	stopped              context.Context // done when all sessions end; nil means never
	// Lists of *session, least recently used first: those of each caller, and all.
	callers map[string]*lru.List
	byUse   *lru.List
}

// usage determines whether a session may be ended to make room. The mutex of the table guards it.
type usage struct {
	posts   int       // in progress
	orphans int       // calls that continue after their client hung up
	streams int       // standalone streams
	removed bool      // the session has ended
	opened  bool      // the session was in the table
	last    time.Time // of the last use; not updated while the session is in use
	// The elements in the lists of the table; nil while the session is not in the table.
	inAll, ofCaller *lru.Element
}

func (u *usage) idle() bool { return u.posts == 0 && u.orphans == 0 && u.streams == 0 }

// errSessionEnded is the error for a session that ended before it was added to the table.
var errSessionEnded = errors.New("the session has ended")

// minIdleForOthers is how long a session must have been idle before it is ended for another caller.
const minIdleForOthers = time.Minute

func newSessionTable(s Settings) *sessionTable {
	t := &sessionTable{open: map[string]*session{}, callers: map[string]*lru.List{}, byUse: lru.New()}
	t.setLimits(s)
	return t
}

// setLimits changes the limits. Sessions beyond a lower one end when their callers open others.
func (t *sessionTable) setLimits(s Settings) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maxPerUser, t.maxTotal, t.callTimeout = s.MaxSessionsPerUser, s.MaxSessions, s.CallTimeout
}

// checkRoom returns the error that add would return for a session of owner: errUserLimit or errTotalLimit.
func (t *sessionTable) checkRoom(owner string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.toReplace(owner)
	return err
}

// add adds s, and ends the sessions that make room for it. The errors are those of checkRoom, and errSessionEnded.
func (t *sessionTable) add(s *session) error {
	t.mu.Lock()
	if s.use.removed {
		t.mu.Unlock()
		return errSessionEnded
	}
	var ended []*session
	replaced, err := t.toReplace(s.owner)
	for replaced != nil { // more than one if the limit was lowered
		t.drop(replaced)
		ended = append(ended, replaced)
		replaced, err = t.toReplace(s.owner)
	}
	if err == nil {
		s.use.last, s.use.opened = time.Now(), true
		own := t.callers[s.owner]
		if own == nil {
			own = lru.New()
			t.callers[s.owner] = own
		}
		s.use.inAll, s.use.ofCaller = t.byUse.PushBack(s), own.PushBack(s)
		t.open[s.id] = s
	}
	t.mu.Unlock()
	for _, one := range ended {
		one.end(SessionReplaced)
	}
	return err
}

// isStopping reports whether all sessions end because the server stops.
func (t *sessionTable) isStopping() bool { return t.stopped != nil && t.stopped.Err() != nil }

// toReplace returns the session that must end before owner can have another one, or nil if there is room; mu must be
// held.
func (t *sessionTable) toReplace(owner string) (replaced *session, err error) {
	own := t.callers[owner]
	switch {
	case own != nil && own.Len() >= t.maxPerUser:
		if replaced = leastRecentIdle(own, time.Time{}); replaced == nil {
			return nil, errUserLimit
		}
	case len(t.open) >= t.maxTotal:
		replaced = leastRecentIdle(t.byUse, time.Now().Add(-minIdleForOthers))
		if own != nil {
			ofCaller := leastRecentIdle(own, time.Time{})
			if replaced == nil || ofCaller != nil && ofCaller.use.last.Before(replaced.use.last) {
				replaced = ofCaller
			}
		}
		if replaced == nil {
			return nil, errTotalLimit
		}
	}
	return replaced, nil
}

// leastRecentIdle returns the least recently used idle session whose last use is not after before, or nil. The zero
// time means any last use.
func leastRecentIdle(byUse *lru.List, before time.Time) *session {
	for e := byUse.Front(); e != nil; e = e.Next() {
		s := e.Value.(*session)
		if !before.IsZero() && s.use.last.After(before) {
			return nil // like all that follow
		}
		if s.use.idle() {
			return s
		}
	}
	return nil
}

// retryAfter returns in how long there will be room for owner at the latest: when the first of the caller's sessions
// becomes idle or ends, or one of another caller has been idle for minIdleForOthers. It is zero if there is room now.
func (t *sessionTable) retryAfter(owner string, err error) time.Duration {
	type candidate struct {
		session *session
		timeout time.Time // when its idle timeout ends it; zero while a POST is in progress
	}
	var own []candidate
	now := time.Now()
	first := now.Add(maxRetryAfter)
	t.mu.Lock()
	if list := t.callers[owner]; list != nil {
		for e := list.Front(); e != nil; e = e.Next() {
			c := candidate{session: e.Value.(*session)}
			if c.session.use.posts == 0 {
				c.timeout = c.session.use.last.Add(c.session.idleTimeout)
			}
			own = append(own, c)
		}
	}
	callTimeout := t.callTimeout
	if errors.Is(err, errTotalLimit) {
		if s := leastRecentIdle(t.byUse, time.Time{}); s != nil {
			first = earlier(first, s.use.last.Add(minIdleForOthers))
		}
	}
	t.mu.Unlock()
	for _, c := range own {
		free := c.session.busyUntil(callTimeout)
		if !c.timeout.IsZero() {
			free = earlier(free, c.timeout)
		}
		first = earlier(first, free)
	}
	return max(first.Sub(now), 0)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// beginRequest counts a POST in s, which is not idle until endRequest.
func (t *sessionTable) beginRequest(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.use.posts++
	s.idle.Stop()
}

// endRequest ends a POST in s.
func (t *sessionTable) endRequest(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.use.posts--
	t.touch(s)
	if s.use.posts == 0 && s.use.inAll != nil {
		s.idle.Reset(s.idleTimeout)
	}
}

// addOrphans changes the number of calls in s that continue after their client hung up.
func (t *sessionTable) addOrphans(s *session, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.use.orphans += n
	t.touch(s)
}

// addStreams changes the number of standalone streams of s.
func (t *sessionTable) addStreams(s *session, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.use.streams += n
	t.touch(s)
}

// touch makes s the most recently used session; mu must be held.
func (t *sessionTable) touch(s *session) {
	if s.use.inAll != nil {
		s.use.last = time.Now()
		t.byUse.MoveToBack(s.use.inAll)
		t.callers[s.owner].MoveToBack(s.use.ofCaller)
	}
}

// remove removes a session that ended. It reports whether the session was ever in the table.
func (t *sessionTable) remove(s *session) (wasOpen bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(s)
	return s.use.opened
}

// drop removes s if it is in the table; mu must be held. It cannot be added again.
func (t *sessionTable) drop(s *session) {
	s.use.removed = true
	s.idle.Stop()
	if s.use.inAll == nil {
		return
	}
	own := t.callers[s.owner]
	t.byUse.Remove(s.use.inAll)
	own.Remove(s.use.ofCaller)
	s.use.inAll, s.use.ofCaller = nil, nil
	delete(t.open, s.id)
	if own.Len() == 0 {
		delete(t.callers, s.owner)
	}
}

// lookup returns the session with this id if owner opened it. For other callers it does not exist (MCP 2025-11-25,
// Security Best Practices, Session Hijacking).
func (t *sessionTable) lookup(id, owner string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.open[id]; s != nil && s.owner == owner {
		return s
	}
	return nil
}

func (t *sessionTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// all returns the open sessions.
func (t *sessionTable) all() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.open))
}
