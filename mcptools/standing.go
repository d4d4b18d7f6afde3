package mcptools

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
)

// standing is the stream of a session for what belongs to no request. Whoever says something does not wait until it is written: the
// SDK tells all sessions one after the other, and one client that reads nothing must not keep the news from the others.
type standing struct {
	queue chan []byte
	slow  chan struct{} // closed when the queue ran over; nothing is taken from then on

	mu   sync.Mutex
	over bool
}

// standingQueue is how many messages wait for a client. One that has more waiting gets these, and the end of the stream; it can open
// another.
const standingQueue = 256

func (st *standing) send(message jsonrpc.Message) error {
	text, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return errNotSent
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over {
		return errNotSent
	}
	select {
	case st.queue <- text:
		return nil
	default:
		st.over = true
		close(st.slow)
		return errNotSent
	}
}

// hold keeps the stream open until the session or ctx ends, or the client reads too slowly. Its beginning is sent at once, and with a
// comment: some proxies wait for the first piece of a body before they pass the headers on.
func (s *session) hold(ctx context.Context, w http.ResponseWriter, patience time.Duration) *refusal {
	st := &standing{queue: make(chan []byte, standingQueue), slow: make(chan struct{})}
	if !s.stand(st) {
		return &refusal{status: http.StatusConflict, code: codeInvalidRequest, text: "the session has a standing stream already", reason: providers.TooManyStreams}
	}
	defer hurry(w, patience) // for the end of the stream, which may come long after what was last said in it
	defer s.fall(st)
	beginEvents(w, "")
	err := writeNow(w, []byte(": ok\n\n"), patience)
	for err == nil {
		select {
		case message := <-st.queue:
			err = writeEvent(w, message, patience)
		case <-st.slow:
			s.fall(st)
			st.rest(w, patience)
			return nil
		case <-ctx.Done():
			return nil
		case <-s.over:
			return nil
		}
	}
	return nil // the client has gone
}

// rest writes what is waiting still.
func (st *standing) rest(w http.ResponseWriter, patience time.Duration) {
	for {
		select {
		case message := <-st.queue:
			if writeEvent(w, message, patience) != nil {
				return
			}
		default:
			return
		}
	}
}

// stand makes st the standing stream, unless there is one.
func (s *session) stand(st *standing) (free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standing != nil {
		return false
	}
	s.standing = st
	return true
}

// fall lets go of st, if it is the standing stream still: the client may have opened another.
func (s *session) fall(st *standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standing == st {
		s.standing = nil
	}
}
