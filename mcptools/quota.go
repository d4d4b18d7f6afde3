package mcptools

import (
	"errors"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Why something was not granted. Too many of one's own is for the caller to mend, too many in all is not.
var (
	errTooManyOfYours = errors.New("too many of one caller")
	errTooManyInAll   = errors.New("too many in all")
)

// quota bounds how many of something exist at once, for each caller and in all.
type quota struct {
	perUser, inAll int

	mu    sync.Mutex
	users map[string]int
	total int
}

func newQuota(perUser, inAll int) *quota {
	return &quota{perUser: perUser, inAll: inAll, users: map[string]int{}}
}

// take grants one more to user, or says why not. What was taken must be given back.
func (q *quota) take(user string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.users[user] >= q.perUser:
		return errTooManyOfYours
	case q.total >= q.inAll:
		return errTooManyInAll
	}
	q.users[user]++
	q.total++
	return nil
}

func (q *quota) give(user string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.users[user]--; q.users[user] <= 0 {
		delete(q.users, user)
	}
}

// sessions knows to whom each session belongs. The SDK knows too, but tells a stranger that the session exists, and opens
// as many as anybody asks for: each costs a goroutine and some kilobytes until it times out.
type sessions struct {
	server *mcp.Server
	quota  *quota

	mu     sync.Mutex
	owners map[string]string // session id to principal
}

func newSessions(server *mcp.Server, s Settings) *sessions {
	return &sessions{server: server, quota: newQuota(s.MaxSessionsPerUser, s.MaxSessions), owners: map[string]string{}}
}

// admit grants one more session to principal. The place is taken until the session ends, or until release if none
// came of it.
func (s *sessions) admit(principal string) error {
	err := s.quota.take(principal)
	if err == nil {
		return nil
	}
	// Sessions end in many ways (idle, deleted, failed), and none of them tells us. Look only when it matters.
	s.prune()
	return s.quota.take(principal)
}

// opened notes to whom a session belongs that admit made room for.
func (s *sessions) opened(id, principal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[id] = principal
}

func (s *sessions) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.owners[id]
	return ok
}

// belongs reports whether the session exists and is principal's.
func (s *sessions) belongs(id, principal string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner, ok := s.owners[id]
	return ok && owner == principal
}

// prune gives back the places of sessions that are over.
func (s *sessions) prune() {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := map[string]bool{}
	for one := range s.server.Sessions() {
		live[one.ID()] = true
	}
	for id, principal := range s.owners {
		if !live[id] {
			delete(s.owners, id)
			s.quota.give(principal)
		}
	}
}

// open returns how many sessions there are.
func (s *sessions) open() int {
	s.prune()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.owners)
}
