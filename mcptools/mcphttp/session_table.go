package mcphttp

import (
	lru "container/list"
	"errors"
	"sync"
	"time"
)

// sessions are all open sessions. Each costs a goroutine and some kilobytes until it ends, so that there is a
// limit for each caller and one in all. At a limit the least recently used idle session is ended to make
// room: some clients begin a session for nearly every request and end none, and a client whose session is
// over begins a new one on 404 (MCP 2025-11-25, Transports, Session Management).
type sessions struct {
	perUser, inAll int
	callTimeout    time.Duration

	// mu is never held while another lock is taken.
	mu   sync.Mutex
	open map[string]*session
	// Lists of *session, least recently used first: of each caller who has any, and of all.
	callers map[string]*lru.List
	byUse   *lru.List
}

// usage is what decides whether a session may be ended to make room. The mutex of the table guards it.
type usage struct {
	posts   int       // in progress
	orphans int       // calls that go on after their client hung up
	streams int       // standing streams
	over    bool      // it has ended
	last    time.Time // when the session was used last; of no meaning while it is in use
	// The places in the lists of the table; nil while the session is not in the table.
	inAll, ofCaller *lru.Element
}

func (u *usage) idle() bool { return u.posts == 0 && u.orphans == 0 && u.streams == 0 }

// errSessionOver says that a session ended before it was in the table.
var errSessionOver = errors.New("the session is over")

// restOfOthers is how long a session must have been idle before it can make room for another caller.
const restOfOthers = time.Minute

func newSessions(s Settings) *sessions {
	return &sessions{
		perUser: s.MaxSessionsPerUser, inAll: s.MaxSessions, callTimeout: s.CallTimeout,
		open: map[string]*session{}, callers: map[string]*lru.List{}, byUse: lru.New(),
	}
}

// room reports whether add would find a place for a session of owner. The error is errTooManyOfYours or
// errTooManyInAll.
func (t *sessions) room(owner string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.place(owner)
	return err
}

// add takes s in, and ends the session that had to make room for it. The errors are those of room, and errSessionOver.
func (t *sessions) add(s *session) error {
	t.mu.Lock()
	if s.use.over {
		t.mu.Unlock()
		return errSessionOver
	}
	replaced, err := t.place(s.owner)
	if err == nil {
		if replaced != nil {
			t.drop(replaced)
		}
		s.use.last = time.Now()
		own := t.callers[s.owner]
		if own == nil {
			own = lru.New()
			t.callers[s.owner] = own
		}
		s.use.inAll, s.use.ofCaller = t.byUse.PushBack(s), own.PushBack(s)
		t.open[s.id] = s
	}
	t.mu.Unlock()
	if replaced != nil {
		replaced.end()
	}
	return err
}

// place returns the session that must end before owner can have another one, or nil if a place is free; mu
// must be held.
func (t *sessions) place(owner string) (replaced *session, err error) {
	own := t.callers[owner]
	switch {
	case own != nil && own.Len() >= t.perUser:
		if replaced = firstIdle(own, time.Time{}); replaced == nil {
			return nil, errTooManyOfYours
		}
	case len(t.open) >= t.inAll:
		replaced = firstIdle(t.byUse, time.Now().Add(-restOfOthers))
		if own != nil {
			if ofCaller := firstIdle(own, time.Time{}); replaced == nil || ofCaller != nil && ofCaller.use.last.Before(replaced.use.last) {
				replaced = ofCaller
			}
		}
		if replaced == nil {
			return nil, errTooManyInAll
		}
	}
	return replaced, nil
}

// firstIdle returns the least recently used idle session, or nil if none was used last before the time given.
// The zero time means any time.
func firstIdle(byUse *lru.List, before time.Time) *session {
	for e := byUse.Front(); e != nil; e = e.Next() {
		s := e.Value.(*session)
		if !before.IsZero() && s.use.last.After(before) {
			return nil // and so was every one after it
		}
		if s.use.idle() {
			return s
		}
	}
	return nil
}

// retryAfter says in how long a place for owner must come free: when the first of the caller's sessions must
// be idle or over, or one of another caller was idle for long enough. It is zero if one is free now.
func (t *sessions) retryAfter(owner string, err error) time.Duration {
	type candidate struct {
		session *session
		over    time.Time // when it ends by its idleness; zero while a POST is in progress
	}
	var own []candidate
	now := time.Now()
	first := now.Add(maxRetryAfter)
	t.mu.Lock()
	if list := t.callers[owner]; list != nil {
		for e := list.Front(); e != nil; e = e.Next() {
			c := candidate{session: e.Value.(*session)}
			if c.session.use.posts == 0 {
				c.over = c.session.use.last.Add(c.session.patience)
			}
			own = append(own, c)
		}
	}
	if errors.Is(err, errTooManyInAll) {
		if s := firstIdle(t.byUse, time.Time{}); s != nil {
			first = earlier(first, s.use.last.Add(restOfOthers))
		}
	}
	t.mu.Unlock()
	for _, c := range own {
		free := c.session.busyUntil(t.callTimeout)
		if !c.over.IsZero() {
			free = earlier(free, c.over)
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

// begin notes that a POST has begun in s.
func (t *sessions) begin(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.use.posts++
	s.idle.Stop()
}

// end notes that a POST in s is over.
func (t *sessions) end(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.use.posts--
	t.used(s)
	if s.use.posts == 0 && s.use.inAll != nil {
		s.idle.Reset(s.patience)
	}
}

// orphan notes n calls more, or less, that go on in s after their client hung up.
func (t *sessions) orphan(s *session, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.use.orphans += n
	t.used(s)
}

// stream notes n standing streams more, or less, of s.
func (t *sessions) stream(s *session, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.use.streams += n
	t.used(s)
}

// used notes that s is used now; mu must be held.
func (t *sessions) used(s *session) {
	if s.use.inAll != nil {
		s.use.last = time.Now()
		t.byUse.MoveToBack(s.use.inAll)
		t.callers[s.owner].MoveToBack(s.use.ofCaller)
	}
}

// remove takes out a session that ended.
func (t *sessions) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(s)
}

// drop takes s out if it is in; mu must be held. It cannot come in again.
func (t *sessions) drop(s *session) {
	s.use.over = true
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

// of returns the session with this id if it is owner's. For other callers it does not exist (MCP
// 2025-11-25, Security Best Practices, Session Hijacking).
func (t *sessions) of(id, owner string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.open[id]; s != nil && s.owner == owner {
		return s
	}
	return nil
}

func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}
