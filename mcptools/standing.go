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
	slow  chan struct{} // closed when the queue ran over
	once  sync.Once
}

// standingQueue is how many messages wait for a client before it is given up. It can open the stream anew.
const standingQueue = 32

func (st *standing) send(message jsonrpc.Message) error {
	text, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return errNotSent
	}
	select {
	case st.queue <- text:
		return nil
	default:
		st.once.Do(func() { close(st.slow) })
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
	defer s.fall()
	beginEvents(w, "")
	err := writeNow(w, []byte(": ok\n\n"), patience)
	for err == nil {
		select {
		case message := <-st.queue:
			err = writeEvent(w, message, patience)
		case <-st.slow:
			return nil
		case <-ctx.Done():
			return nil
		case <-s.over:
			return nil
		}
	}
	return nil // the client has gone
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

func (s *session) fall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standing = nil
}
