package mcptools

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
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

	mu        sync.Mutex
	ended     bool
	posts     int // in progress; while there are any the session is not idle
	idle      *time.Timer
	exchanges []*exchange // that have no response yet
	standing  *exchange   // the stream for what belongs to no request; nil if the client holds none
}

func newSession(owner string, table *sessions, patience time.Duration) *session {
	s := &session{id: rand.Text(), owner: owner, table: table, patience: patience, incoming: make(chan jsonrpc.Message), over: make(chan struct{})}
	s.idle = time.AfterFunc(patience, func() { _ = s.Close() })
	return s
}

// Connect implements mcp.Transport.
func (s *session) Connect(context.Context) (mcp.Connection, error) { return s, nil }

// SupportsProtocolVersion implements mcp.ProtocolVersionSupporter: 2026-07-28 knows no sessions.
func (s *session) SupportsProtocolVersion(version string) bool { return version < modernVersion }

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

// Write implements mcp.Connection. A response goes where its request came from. All else goes to the request whose work it was
// said in, while that has no response yet, and otherwise to the standing stream (MCP 2025-11-25, transports).
func (s *session) Write(ctx context.Context, message jsonrpc.Message) error {
	if response, ok := message.(*jsonrpc.Response); ok {
		e := s.take(response.ID)
		if e == nil {
			return errNotSent
		}
		defer e.forget()
		return e.send(message)
	}
	for _, e := range s.listeners(ctx) {
		if e.send(message) == nil {
			return nil
		}
	}
	return errNotSent
}

// take returns the exchange that waits for the response with this id, which is no longer kept: its id may be used again.
func (s *session) take(id jsonrpc.ID) *exchange {
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

// listeners returns who can be told what the server says in ctx, whom it concerns most first.
func (s *session) listeners(ctx context.Context) []*exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*exchange
	for _, e := range s.exchanges {
		if e.isOf(ctx) {
			all = append(all, e)
		}
	}
	if s.standing != nil {
		all = append(all, s.standing)
	}
	return all
}

// Close implements mcp.Connection. It ends the session at once, and what is in flight in it.
func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		s.idle.Stop()
		s.table.remove(s)
		close(s.over)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts++
	s.idle.Stop()
	return s.unbusy
}

func (s *session) unbusy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.posts--; s.posts == 0 && !s.ended {
		s.idle.Reset(s.patience)
	}
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

// stand makes e the standing stream, unless there is one.
func (s *session) stand(e *exchange) (free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standing != nil {
		return false
	}
	s.standing = e
	return true
}

// fall lets go of the standing stream.
func (s *session) fall() {
	s.mu.Lock()
	e := s.standing
	s.standing = nil
	s.mu.Unlock()
	e.leave()
}

// hold keeps the stream open until the session or ctx ends. Its beginning is sent at once, and with a comment: some proxies wait
// for the first piece of a body before they pass the headers on.
func (s *session) hold(ctx context.Context, w http.ResponseWriter, patience time.Duration) *refusal {
	e := &exchange{w: w, patience: patience}
	if !s.stand(e) {
		return &refusal{status: http.StatusConflict, code: codeInvalidRequest, text: "the session has a standing stream already", reason: providers.TooManyStreams}
	}
	defer s.fall()
	e.mu.Lock()
	e.streams()
	err := e.flush([]byte(": ok\n\n"))
	e.mu.Unlock()
	if err != nil {
		return nil // the client is gone
	}
	select {
	case <-ctx.Done():
	case <-s.over:
	}
	return nil
}
