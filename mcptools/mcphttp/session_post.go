package mcphttp

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// post serves one message of a session, or the one that begins it.
type post struct {
	exchange
	handler *Handler
	message message
	told    jsonrpc.Message // the SDK's form of it
}

// ServeHTTP implements http.Handler.
func (p *post) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, refused := callerOfHTTP(r)
	if refused == nil {
		refused = p.read(r)
	}
	switch {
	case refused != nil:
	case p.message.method == methodInitialize && r.Header.Get(sessionHeader) == "":
		refused = p.open(w, r, who)
	default:
		refused = p.inSession(w, r, who)
	}
	if refused != nil {
		refused.ServeHTTP(w, r)
	}
}

// read makes the SDK's message of what was peeked at.
func (p *post) read(r *http.Request) *refusal {
	m := p.message
	switch {
	case !acceptsBoth(r.Header):
		refused := malformed(m.id, codeInvalidRequest, "Accept must name application/json and text/event-stream")
		refused.reason = providers.MediaTypeRefused
		return refused
	case r.Header.Get(lastEventHeader) != "":
		return malformed(m.id, codeInvalidRequest, "Last-Event-ID is for GET")
	case m.version != nil: // and a session, which that version does not know
		version, _ := rawjson.Text(m.version)
		return unsupportedVersion(m.id, version, p.handler.legacyVersions())
	case m.method == methodListen:
		return &refusal{status: http.StatusBadRequest, code: codeMethodNotFound, text: "sessions have a stream of their own: GET", reason: providers.MessageMalformed, id: m.id}
	case isRemembered(m.method) && len(m.body) > maxRememberedBytes:
		return bodyTooLarge(m.id, "a message of this kind must be short")
	}
	id, plain := plainID(m.id)
	if plain && m.isRequest {
		p.request = &jsonrpc.Request{ID: id, Method: m.method, Params: m.params}
		p.told = p.request
	} else {
		var err error
		if p.told, err = jsonrpc.DecodeMessage(m.body); err != nil {
			return malformed(m.id, codeInvalidRequest, "the body is not one JSON-RPC message")
		}
		p.request, _ = p.told.(*jsonrpc.Request)
	}
	if p.request == nil {
		return nil // an answer of the client
	}
	// What the SDK would drop in silence.
	switch isNotification := strings.HasPrefix(m.method, notifications); {
	case isNotification && p.request.IsCall():
		return malformed(m.id, codeInvalidRequest, "a notification has no id")
	case !isNotification && !p.request.IsCall():
		return malformed(nil, codeInvalidRequest, "the id is missing")
	}
	return nil
}

// open begins a session with the message, if there is room for one more.
func (p *post) open(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) *refusal {
	s, refused := p.handshake(w, r, who)
	if refused != nil {
		return refused
	}
	p.finish()
	if r.Context().Err() != nil { // the client may not have heard of it
		s.end()
	}
	return nil
}

// handshake lets the server answer the message that begins a session. The session takes its place only if it
// came about: a handshake that fails must not end another session. It counts as idle as soon as it is in the
// table, even before the client has read the answer: otherwise many handshakes at once could take all places of their caller,
// and none of them could make room.
func (p *post) handshake(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) (*session, *refusal) {
	table := p.handler.sessions
	if err := table.room(who.UserID); err != nil {
		return nil, tooManySessions(err, table.retryAfter(who.UserID, err))
	}
	s := newSession(who.UserID, table, p.handler.settings.SessionTimeout)
	// Not the context of the request: the SDK makes what it gets here the context of all calls in the session.
	began, err := p.handler.server.Connect(context.Background(), s, nil)
	if err != nil {
		s.end()
		return nil, internalError()
	}
	p.opens = s.id
	p.keepalive = 0 // no tool runs, and the id must not be announced before there is a session
	if refused := p.ask(s, w, r, who); refused != nil || began.InitializeParams() == nil || r.Context().Err() != nil {
		s.end()
		return s, refused
	}
	if err := table.add(s); err != nil {
		s.end()
		p.leave()
		if errors.Is(err, errSessionOver) {
			return nil, noSuchSession()
		}
		return nil, tooManySessions(err, table.retryAfter(who.UserID, err))
	}
	return s, nil
}

// inSession serves the message in the session that it names.
func (p *post) inSession(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) *refusal {
	s, refused := p.handler.named(r, who, p.message.id)
	switch {
	case refused != nil:
		return refused
	case p.request == nil || !p.request.IsCall():
		return p.tell(s, w, r, who)
	case runsCode(p.request.Method):
		if refused := p.handler.busy(who); refused != nil {
			return refused
		}
	}
	return p.call(s, w, r, who)
}

// tell hands the server what wants no answer: a notification, or the answer to a question of the server's.
func (p *post) tell(s *session, w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) *refusal {
	defer s.busy()()
	if p.request != nil {
		p.request.Extra = extraOf(r, who) // in a piece of its own: the SDK keeps it, and p need not stay with it
	}
	if !s.deliver(p.told) {
		return noSuchSession()
	}
	hurry(w, p.patience)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// call hands a request to the server, waits for the response and writes it.
func (p *post) call(s *session, w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) *refusal {
	defer s.busy()()
	if refused := p.ask(s, w, r, who); refused != nil {
		return refused
	}
	p.finish()
	return nil
}

// ask hands a request to the server and waits for the response, which is for finish to write. The call goes
// on when its client hangs up: that is not how clients of the older era cancel.
func (p *post) ask(s *session, w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) *refusal {
	p.begin(w, r, who)
	p.hold(p.message.held)
	if !s.expect(&p.exchange) {
		p.held.release()
		return malformed(p.message.id, codeInvalidRequest, "a request with this id is in flight")
	}
	p.message = message{} // and with it the body; params stay in memory as long as the call
	if s.deliver(p.request) {
		switch {
		case p.wait(r.Context(), s.over):
			return nil
		case r.Context().Err() != nil:
			s.abandon(&p.exchange)
			p.leave()
			return nil
		}
	} else if e := s.awaiting(p.request.ID); e != nil {
		e.forget() // the SDK knows nothing of it
	}
	if p.withdraw() { // the answer may have come with the end
		return noSuchSession()
	}
	return nil
}
