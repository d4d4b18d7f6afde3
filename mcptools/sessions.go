package mcptools

import "sync"

// sessions are all that are open. Each costs a goroutine and some kilobytes until it ends, so that there is a bound, for each
// caller and in all.
type sessions struct {
	places *quota

	mu   sync.Mutex
	open map[string]*session
}

func newSessions(s Settings) *sessions {
	return &sessions{places: newQuota(s.MaxSessionsPerUser, s.MaxSessions), open: map[string]*session{}}
}

// add makes room for one more, or says why there is none.
func (t *sessions) add(s *session) error {
	if err := t.places.take(s.owner); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[s.id] = s
	return nil
}

// remove takes out one that ended.
func (t *sessions) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[s.id] == s {
		delete(t.open, s.id)
		t.places.give(s.owner)
	}
}

// of returns the session with this id if it is owner's. To everybody else there is no such session (TR-35, TR-38).
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
