package mcphttp

import (
	"context"
	"crypto/rand"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// session is one session of the older era, as a connection between HTTP and the SDK's server: what the client posts goes in by
// Read, and what the server says comes out by Write and finds the answer that it belongs to. It is ours rather than the SDK's for
// what a call in it costs, as with [direct], and because it need not keep the request that opened it: neither the token in
// memory, nor an identity that a tool could take for its caller's.
type session struct {
	id, owner string
	table     *sessions
	patience  time.Duration // how long it may be idle
	incoming  chan jsonrpc.Message
	over      chan struct{}

	// The mutex of the table guards these.
	use  usage
	idle *time.Timer // runs while no POST is in progress

	mu        sync.Mutex
	ended     bool
	exchanges []*exchange // that have no response yet
	standing  *standing   // the stream for what belongs to no request; nil if the client holds none
}

func newSession(owner string, table *sessions, patience time.Duration) *session {
	s := &session{id: rand.Text(), owner: owner, table: table, patience: patience, incoming: make(chan jsonrpc.Message), over: make(chan struct{})}
	s.idle = time.AfterFunc(patience, s.end)
	return s
}

// Connect implements mcp.Transport.
func (s *session) Connect(context.Context) (mcp.Connection, error) { return s, nil }

// SessionID implements mcp.Connection.
func (s *session) SessionID() string { return s.id }

// Read implements mcp.Connection.
func (s *session) Read(context.Context) (jsonrpc.Message, error) {
	select {
	case message := <-s.incoming:
		return message, nil
	case <-s.over:
		return nil, io.EOF
	}
}

// Write implements mcp.Connection. A response goes where its request came from, and what is said while a request is being worked on
// goes there too, or nowhere. All else goes to the standing stream (MCP 2025-11-25, transports).
func (s *session) Write(ctx context.Context, message jsonrpc.Message) error {
	if response, ok := message.(*jsonrpc.Response); ok {
		e := s.awaiting(response.ID)
		if e == nil {
			return errNotSent
		}
		if e.orphaned {
			s.table.orphan(s, -1)
		}
		defer e.forget()
		return e.send(message)
	}
	if call := callIn(ctx); call != nil {
		if e := s.of(call); e != nil {
			return e.send(message)
		}
		return errNotSent
	}
	s.mu.Lock()
	stream := s.standing
	s.mu.Unlock()
	if stream == nil {
		return errNotSent
	}
	return stream.send(message)
}

// awaiting returns the exchange that waits for the response with this id, and does not keep it any longer: the id may be used again.
func (s *session) awaiting(id jsonrpc.ID) *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.exchanges, func(e *exchange) bool { return e.request.ID == id })
	if i < 0 {
		return nil
	}
	e := s.exchanges[i]
	s.exchanges = slices.Delete(s.exchanges, i, i+1)
	return e
}

// of returns the exchange of a request that has no response yet.
func (s *session) of(call *mcp.RequestExtra) *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.exchanges {
		if &e.extra == call {
			return e
		}
	}
	return nil
}

// end ends the session at once, and what is in flight in it.
func (s *session) end() {
	s.mu.Lock()
	first := !s.ended
	if first {
		s.ended = true
		close(s.over)
	}
	s.mu.Unlock()
	if first {
		s.table.remove(s)
	}
}

// Close implements mcp.Connection. The SDK calls it when the session has ended and no call of it runs any more. Calls
// that went on until then have no response.
func (s *session) Close() error {
	s.end()
	s.mu.Lock()
	exchanges := s.exchanges
	s.exchanges = nil
	s.mu.Unlock()
	for _, e := range exchanges {
		e.forget()
	}
	return nil
}

// deliver hands a message to the server, and reports whether the session still is.
func (s *session) deliver(message jsonrpc.Message) bool {
	select {
	case s.incoming <- message:
		return true
	case <-s.over:
		return false
	}
}

// busy says that a POST has begun; the session is not idle until done is called.
func (s *session) busy() (done func()) {
	s.table.begin(s)
	return s.unbusy
}

func (s *session) unbusy() { s.table.end(s) }

// abandon says that the client of e hung up. The session is not idle before e has its response: the call goes
// on.
func (s *session) abandon(e *exchange) {
	s.mu.Lock()
	goesOn := slices.Contains(s.exchanges, e)
	if goesOn {
		e.orphaned = true
	}
	s.mu.Unlock()
	if goesOn {
		s.table.orphan(s, 1)
	}
}

// busyUntil says when the calls in flight and the standing stream must be over, if a call may take
// callTimeout. It is the zero time if there is neither.
func (s *session) busyUntil(callTimeout time.Duration) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var until time.Time
	for _, e := range s.exchanges {
		if end := e.began.Add(callTimeout); end.After(until) {
			until = end
		}
	}
	if s.standing != nil && s.standing.until.After(until) {
		until = s.standing.until
	}
	return until
}

// expect keeps e until its response comes, or says that a request with its id is in flight.
func (s *session) expect(e *exchange) (fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.exchanges, func(other *exchange) bool { return other.request.ID == e.request.ID }) {
		return false
	}
	s.exchanges = append(s.exchanges, e)
	return true
}
