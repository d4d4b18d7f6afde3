package mcphttp

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
	queue    chan []byte
	slow     chan struct{} // closed when the queue ran over; nothing is taken from then on
	replaced chan struct{} // closed when the client opened a newer stream of the session
	until    time.Time     // when its token ends, and the stream with it
	w        http.ResponseWriter

	mu   sync.Mutex
	over bool
}

func newStanding(w http.ResponseWriter, until time.Time) *standing {
	return &standing{
		queue: make(chan []byte, standingQueue), slow: make(chan struct{}), replaced: make(chan struct{}),
		until: until, w: w,
	}
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
// comment: some proxies wait for the first piece of a body before they pass the headers on. Another comment follows each silence of
// keepalive, if that is not 0: proxies and clients give up a silent stream, and a peer that is gone shows only when it is written to.
func (s *session) hold(ctx context.Context, st *standing, patience, keepalive time.Duration) {
	w := st.w
	defer func() { hurry(w, patience) }() // for the end of the stream, which may come long after what was last said in it
	var silent <-chan time.Time           // never, if keepalive is off
	var timer *time.Timer
	if keepalive > 0 {
		timer = time.NewTimer(keepalive)
		defer timer.Stop()
		silent = timer.C
	}
	beginEvents(w, "")
	err := writeNow(w, []byte(": ok\n\n"), patience)
	for err == nil {
		if ended(st.replaced) {
			patience = shortPatience
			_ = writeNow(w, []byte("retry: 30000\n\n"), patience)
			return
		}
		select {
		case message := <-st.queue:
			err = writeEvent(w, message, patience)
		case <-silent:
			err = writeComment(w, patience)
		case <-st.replaced:
			continue
		case <-st.slow:
			st.rest(w, patience)
			return
		case <-ctx.Done():
			return
		case <-s.over:
			return
		}
		if timer != nil {
			timer.Reset(keepalive)
		}
	}
}

// shortPatience is how long the end of a stream may take whose client has a newer one.
const shortPatience = time.Second

func ended(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
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

// stand makes st the standing stream. If there is one already, st takes its place, also in streams, and what
// waits in it: the client would not open another if it still had the old one, and whether a peer is gone can
// take minutes to show. The old stream ends, and tells its client not to come back soon, in case that two of
// them share the session.
func (s *session) stand(st *standing, streams *quota) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return noSuchSession()
	}
	if old := s.standing; old != nil {
		if !ended(old.slow) {
			st.queue = old.queue
		}
		// A write that the old peer does not take ends now. Its writer may still be used, because fall waits
		// for s.mu.
		hurry(old.w, 0)
		close(old.replaced)
	} else if err := streams.take(s.owner); err != nil {
		return tooMany("streams", providers.TooManyStreams, err)
	}
	s.standing = st
	return nil
}

// fall lets go of st, and of its place, unless a newer stream has taken that.
func (s *session) fall(st *standing, streams *quota) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standing == st {
		s.standing = nil
		streams.give(s.owner)
	}
}
