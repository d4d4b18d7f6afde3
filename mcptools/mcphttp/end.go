package mcphttp

import (
	"context"
	"net/http"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
)

// Denier tells which callers must not be served any more. Requests of such callers do not reach the endpoint;
// it asks when a call, a stream or a session begins, because the caller may have been denied since the
// request was let in.
type Denier interface {
	// Check reports whether a caller is denied, and why.
	Check(*providers.Identity) (reason providers.Reason, denied bool)
}

// End ends the sessions, the streams and the calls in flight of callers that match denies, and returns how
// many. A session ends if its latest request, its stream or one of its calls in flight is from such a caller.
// Clients get the response to a call at once, whether or not its handler returns. Without a [Denier], End
// does nothing.
func (h *Handler) End(match func(*providers.Identity) (reason providers.Reason, denied bool)) int {
	if h.open == nil {
		return 0
	}
	n := h.open.end(match)
	for _, s := range h.sessions.all() {
		n += s.endOfDenied(match)
	}
	return n
}

// textEnded is the message of a call that the operator ended.
const textEnded = "ended by the operator"

// endedResult is the result of a request that the operator ended.
func endedResult(reason providers.Reason) Result {
	return Result{Outcome: OutcomeCanceled, Reason: reason, Detail: textEnded}
}

// endable is a call or a stream that [Handler.End] can end.
type endable interface {
	// end must not block. It reports false if the call or stream was over.
	end(providers.Reason) bool
}

// openRequests are the calls and streams outside of sessions, with their callers. A nil *openRequests holds
// nothing and denies no caller.
type openRequests struct {
	denier Denier

	mu  sync.Mutex
	all map[endable]*providers.Identity
}

func newOpenRequests(d Denier) *openRequests {
	if d == nil {
		return nil
	}
	return &openRequests{denier: d, all: map[endable]*providers.Identity{}}
}

// add adds r until remove. It reports false if the caller is denied, and then ends r. The order matters: a
// caller that is denied after the check is found by end.
func (o *openRequests) add(r endable, caller *providers.Identity) bool {
	if o == nil {
		return true
	}
	o.mu.Lock()
	o.all[r] = caller
	o.mu.Unlock()
	reason, denied := o.check(caller)
	if denied {
		r.end(reason)
	}
	return !denied
}

func (o *openRequests) remove(r endable) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, r)
}

func (o *openRequests) check(caller *providers.Identity) (reason providers.Reason, denied bool) {
	if o == nil {
		return "", false
	}
	return o.denier.Check(caller)
}

// end ends what match denies, and returns how many.
func (o *openRequests) end(match func(*providers.Identity) (providers.Reason, bool)) int {
	denied := map[endable]providers.Reason{}
	o.mu.Lock()
	for r, caller := range o.all {
		if reason, ok := match(caller); ok {
			denied[r] = reason
		}
	}
	o.mu.Unlock()
	n := 0
	for r, reason := range denied {
		if r.end(reason) {
			n++
		}
	}
	return n
}

// end answers the request with an error, as its handler would. The end of the exchange cancels the handler.
func (e *exchange) end(reason providers.Reason) bool {
	failure := &jsonrpc.Error{Code: codeInternalError, Message: textEnded}
	text, err := encodeResponse(&jsonrpc.Response{ID: e.request.ID, Error: failure})
	if err != nil {
		return false // cannot happen: the id was decoded from JSON
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.response != nil {
		return false
	}
	e.response, e.status, e.result, e.newSessionID = text, http.StatusOK, endedResult(reason), ""
	e.closeAnswered()
	if e.onEnd != nil {
		e.onEnd()
	}
	return true
}

// endStreams serves a stream that stays open for notifications, until End ends it.
func (h *Handler) endStreams(next http.Handler) http.Handler {
	if h.open == nil {
		return next
	}
	return h.withIdentity(func(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		s := &openStream{cancel: cancel}
		defer h.open.remove(s)
		if !h.open.add(s, caller) {
			refused := errEnded(s.reason())
			refused.status = http.StatusForbidden
			h.writeError(w, r, refused)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
		if reason := s.reason(); reason != "" {
			h.recorder.RecordResult(r.Context(), endedResult(reason))
		}
	})
}

// openStream is a stream outside of a session.
type openStream struct {
	cancel context.CancelFunc

	mu    sync.Mutex
	ended providers.Reason // empty if End has not ended it
}

func (s *openStream) end(reason providers.Reason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = reason
	s.cancel()
	return true
}

func (s *openStream) reason() providers.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}
