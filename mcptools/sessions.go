package mcptools

import (
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// sessions knows to whom each session belongs. The SDK knows too, but tells a stranger that the session exists, and opens
// as many as anybody asks for: each costs a goroutine and some kilobytes until it times out.
//
// How many there are is counted from the sessions themselves, not kept beside them: sessions end in many ways (idle,
// deleted, failed, abandoned half open), and none of them tells us.
type sessions struct {
	server         *mcp.Server
	perUser, inAll int

	mu      sync.Mutex
	owners  map[string]string // session id to principal
	opening map[string]int    // requests that may become a session, by principal
	pending int               // their number
}

func newSessions(server *mcp.Server, s Settings) *sessions {
	return &sessions{server: server, perUser: s.MaxSessionsPerUser, inAll: s.MaxSessions, owners: map[string]string{}, opening: map[string]int{}}
}

// begin makes room for one more session of principal, or says why there is none. The place is held until end.
func (s *sessions) begin(principal string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room(principal) != nil {
		s.prune()
	}
	if err := s.room(principal); err != nil {
		return err
	}
	s.opening[principal]++
	s.pending++
	return nil
}

// end gives back the place that begin held. If a session came of it, the session counts for itself by now.
func (s *sessions) end(principal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending--
	if s.opening[principal]--; s.opening[principal] <= 0 {
		delete(s.opening, principal)
	}
}

func (s *sessions) room(principal string) error {
	own := s.opening[principal]
	for _, owner := range s.owners {
		if owner == principal {
			own++
		}
	}
	return exceeded(own, s.perUser, len(s.owners)+s.pending, s.inAll)
}

// opened notes to whom a session belongs.
func (s *sessions) opened(id, principal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[id] = principal
}

// belongs reports whether the session exists and is principal's.
func (s *sessions) belongs(id, principal string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner, ok := s.owners[id]
	return ok && owner == principal
}

// prune forgets sessions that are over.
func (s *sessions) prune() {
	live := map[string]bool{}
	for one := range s.server.Sessions() {
		live[one.ID()] = true
	}
	for id := range s.owners {
		if !live[id] {
			delete(s.owners, id)
		}
	}
}

// open returns how many sessions there are.
func (s *sessions) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune()
	return len(s.owners)
}
