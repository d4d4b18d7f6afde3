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

	"gatehouse/providers"
)

// session is one session of MCP 2025-11-25 or older, as a connection between HTTP and the SDK's server: Read returns
// what the client posts, and Write passes what the server sends to the reply that it belongs to. It replaces the SDK's
// transport because of the cost of a call, as [statelessConn] does, and because it does not retain the request that
// opened the session: neither the token, nor an identity that a tool could mistake for its caller's.
type session struct {
	id, owner   string
	table       *sessionTable
	idleTimeout time.Duration
	incoming    chan jsonrpc.Message
	done        chan struct{}

	// The mutex of the table guards these.
	use  usage
	idle *time.Timer // runs while no POST is in progress

	mu        sync.Mutex
	ended     bool
	recordEnd func(SessionEnd) // may be nil
	// endReason is why the operator ended the session; empty if it did not. latest is the caller of the latest request,
	// as [retained] returns it; nil without a [Denier].
	endReason providers.Reason
	latest    *providers.Identity
	exchanges []*exchange       // without a response
	stream    *standaloneStream // nil if the client has none open
}

func newSession(owner string, table *sessionTable, idleTimeout time.Duration) *session {
	s := &session{
		id: rand.Text(), owner: owner, table: table, idleTimeout: idleTimeout,
		incoming: make(chan jsonrpc.Message), done: make(chan struct{}),
	}
	s.idle = time.AfterFunc(idleTimeout, func() { s.end(SessionTimedOut) })
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
	case <-s.done:
		return nil, io.EOF
	}
}

// Write implements mcp.Connection. A response goes to the reply of its request, and a message that is sent while a
// request is handled goes there too, or nowhere. All others go to the standalone stream (MCP 2025-11-25, Transports).
func (s *session) Write(ctx context.Context, message jsonrpc.Message) error {
	if response, ok := message.(*jsonrpc.Response); ok {
		e := s.takeExchange(response.ID)
		if e == nil {
			return errNoReceiver
		}
		if e.orphaned {
			s.table.addOrphans(s, -1)
		}
		defer e.release()
		return e.send(message)
	}
	if call := callFrom(ctx); call != nil {
		if e := s.find(call); e != nil {
			return e.send(message)
		}
		return errNoReceiver
	}
	s.mu.Lock()
	stream := s.stream
	s.mu.Unlock()
	if stream == nil {
		return errNoReceiver
	}
	return stream.send(message)
}

// takeExchange removes and returns the exchange that waits for the response with this id, which can then be used
// again. It returns nil if there is none.
func (s *session) takeExchange(id jsonrpc.ID) *exchange {
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

// find returns the exchange of a request without a response, by its extra.
func (s *session) find(call *mcp.RequestExtra) *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.exchanges {
		if &e.extra == call {
			return e
		}
	}
	return nil
}

// end ends the session at once, and cancels what is in flight in it. It reports false if the session had ended before.
func (s *session) end(how SessionEnd) bool {
	s.mu.Lock()
	first, record := !s.ended, s.recordEnd
	if first {
		s.ended = true
		close(s.done)
	}
	s.mu.Unlock()
	if first {
		wasOpen := s.table.remove(s)
		if wasOpen && record != nil {
			record(how)
		}
	}
	return first
}

// Close implements mcp.Connection. The SDK calls it when the session has ended and no call of it runs any more. Calls
// that ran until then have no response.
func (s *session) Close() error {
	how := SessionFailed
	if s.table.isStopping() {
		how = SessionStopped
	}
	s.end(how)
	s.mu.Lock()
	exchanges := s.exchanges
	s.exchanges = nil
	s.mu.Unlock()
	for _, e := range exchanges {
		e.release()
	}
	return nil
}

// deliver passes a message to the server. It reports false if the session has ended.
func (s *session) deliver(message jsonrpc.Message) bool {
	select {
	case s.incoming <- message:
		return true
	case <-s.done:
		return false
	}
}

// orphan marks the call of e, whose client hung up: the call continues, and the session is not idle before its
// response. ctx is the context of its request.
func (s *session) orphan(ctx context.Context, e *exchange) {
	s.mu.Lock()
	continues := slices.Contains(s.exchanges, e)
	if continues {
		e.orphaned, e.recordEnd = true, e.recorder.DetachOperation(ctx)
		// Of the request alone. A comment may have begun its response, whose status then says nothing.
		e.recorder.RecordResult(ctx, Result{Outcome: OutcomeCanceled})
	}
	s.mu.Unlock()
	if continues {
		s.table.addOrphans(s, 1)
	}
}

// busyUntil returns when the calls in flight and the standalone stream end at the latest, if a call takes callTimeout
// at most. It is the zero time if there is neither.
func (s *session) busyUntil(callTimeout time.Duration) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var until time.Time
	for _, e := range s.exchanges {
		if end := e.started.Add(callTimeout); end.After(until) {
			until = end
		}
	}
	if s.stream != nil && s.stream.expiry.After(until) {
		until = s.stream.expiry
	}
	return until
}

// register adds e until it has its response. It reports false if a request with the same id is in flight.
func (s *session) register(e *exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	hasSameID := func(other *exchange) bool { return other.request.ID == e.request.ID }
	if slices.ContainsFunc(s.exchanges, hasSameID) {
		return false
	}
	s.exchanges = append(s.exchanges, e)
	return true
}
