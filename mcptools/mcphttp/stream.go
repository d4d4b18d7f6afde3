package mcphttp

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
)

// standaloneStream is the GET stream of a session, for messages that belong to no request (MCP 2025-11-25, Transports,
// Listening for Messages from the Server). Sends are queued: the SDK notifies sessions sequentially, and one stalled
// client must not block the others.
type standaloneStream struct {
	queue    chan []byte
	overflow chan struct{} // closed when the queue was full; nothing is queued after that
	replaced chan struct{} // closed when the client opened a newer stream of the session
	expiry   time.Time     // of the token, and of the stream
	w        http.ResponseWriter
	caller   *providers.Identity // as [retained] returns it; nil without a [Denier]

	mu     sync.Mutex
	closed bool
}

func newStandaloneStream(w http.ResponseWriter, expiry time.Time) *standaloneStream {
	return &standaloneStream{
		queue: make(chan []byte, maxQueuedMessages), overflow: make(chan struct{}), replaced: make(chan struct{}),
		expiry: expiry, w: w,
	}
}

// maxQueuedMessages is how many messages wait for a client. When there are more, the client receives these and then
// the end of the stream; it can open another.
const maxQueuedMessages = 256

func (st *standaloneStream) send(message jsonrpc.Message) error {
	text, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return errNoReceiver
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return errNoReceiver
	}
	select {
	case st.queue <- text:
		return nil
	default:
		st.closed = true
		close(st.overflow)
		return errNoReceiver
	}
}

// serveStream writes the stream until the session or ctx ends, or the client reads too slowly. It starts with a
// comment, because some proxies forward the headers only with the first bytes of a body. Another comment follows each
// silence of keepalive, if that is not 0: proxies and clients close silent streams, and a dead peer is only noticed
// by a write.
func (s *session) serveStream(ctx context.Context, st *standaloneStream, writeTimeout, keepalive time.Duration) {
	w := st.w
	// For the end of the stream, which may come long after its last message.
	defer func() { setWriteDeadline(w, writeTimeout) }()
	var silence <-chan time.Time // nil if keepalive is off
	var timer *time.Timer
	if keepalive > 0 {
		timer = time.NewTimer(keepalive)
		defer timer.Stop()
		silence = timer.C
	}
	startSSE(w, "")
	err := writeAndFlush(w, []byte(": ok\n\n"), writeTimeout)
	for err == nil {
		if isClosed(st.replaced) {
			writeTimeout = replacedWriteTimeout
			_ = writeAndFlush(w, []byte("retry: 30000\n\n"), writeTimeout)
			return
		}
		select {
		case message := <-st.queue:
			err = writeEvent(w, message, writeTimeout)
		case <-silence:
			err = writeComment(w, writeTimeout)
		case <-st.replaced:
			continue
		case <-st.overflow:
			st.drain(w, writeTimeout)
			return
		case <-ctx.Done():
			return
		case <-s.done:
			return
		}
		if timer != nil {
			timer.Reset(keepalive)
		}
	}
}

// replacedWriteTimeout is how long the end of a replaced stream may take.
const replacedWriteTimeout = time.Second

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// drain writes the queued messages.
func (st *standaloneStream) drain(w http.ResponseWriter, writeTimeout time.Duration) {
	for {
		select {
		case message := <-st.queue:
			if writeEvent(w, message, writeTimeout) != nil {
				return
			}
		default:
			return
		}
	}
}

// attach makes st the standalone stream of the session. An existing one is replaced, and st takes over its place in
// the quota and its queue: the client would not open another stream if it still had the old one, and it can take
// minutes until a dead peer is noticed. The old stream ends with a long retry time, in case two clients share the
// session.
func (s *session) attach(st *standaloneStream, streams *quota) *rpcError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errNoSession()
	}
	if old := s.stream; old != nil {
		if !isClosed(old.overflow) {
			st.queue = old.queue
		}
		// Aborts a write that the old peer does not read. The writer is still valid, because detachStream waits for
		// s.mu.
		setWriteDeadline(old.w, 0)
		close(old.replaced)
	} else if err := streams.acquire(s.owner); err != nil {
		return errLimit("streams", ReasonTooManyStreams, err)
	}
	s.stream = st
	return nil
}

// detachStream removes st and its place in the quota, unless a newer stream has replaced it.
func (s *session) detachStream(st *standaloneStream, streams *quota) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == st {
		s.stream = nil
		streams.release(s.owner, 1)
	}
}
