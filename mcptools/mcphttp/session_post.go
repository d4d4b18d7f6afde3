package mcphttp

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// sessionPost serves one message of a session, or the one that opens it.
type sessionPost struct {
	exchange
	handler        *Handler
	message        message
	jsonrpcMessage jsonrpc.Message // the message in the SDK's form
}

func (e *Endpoint) newSessionPost(m message) *sessionPost {
	return &sessionPost{exchange: e.newExchange(m), handler: e.Handler, message: m}
}

// ServeHTTP implements http.Handler.
func (p *sessionPost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller := providers.IdentityFrom(r.Context())
	rpcErr := errUnauthenticated()
	if caller != nil {
		rpcErr = p.decode(r)
	}
	switch {
	case rpcErr != nil:
	case p.message.method == methodInitialize && r.Header.Get(sessionHeader) == "":
		rpcErr = p.open(w, r, caller)
	default:
		rpcErr = p.serve(w, r, caller)
	}
	if rpcErr != nil {
		p.handler.writeError(w, r, rpcErr)
	}
}

// decode checks the message and converts it to the SDK's type.
func (p *sessionPost) decode(r *http.Request) *rpcError {
	m := p.message
	switch {
	case !acceptsBoth(r.Header):
		e := errMalformed(m.id, codeInvalidRequest, "Accept must name application/json and text/event-stream")
		e.reason = ReasonMediaTypeRefused
		return e
	case r.Header.Get(lastEventHeader) != "":
		return errMalformed(m.id, codeInvalidRequest, "Last-Event-ID is allowed in GET requests only")
	case m.version != nil: // MCP 2026-07-28, which has no sessions
		version, _ := rawjson.Text(m.version)
		return errUnsupportedVersion(m.id, version, p.handler.legacyVersions())
	case m.method == methodListen:
		return &rpcError{status: http.StatusBadRequest, code: codeMethodNotFound, id: m.id,
			text: "in a session, notifications arrive on the GET stream", reason: ReasonMessageMalformed}
	case isRetained(m.method) && len(m.body) > maxRetainedBytes:
		return errTooLarge(m.id, "a message with this method is limited to 16 KiB")
	}
	id, plain := parsePlainID(m.id)
	if plain && m.isRequest {
		p.request = &jsonrpc.Request{ID: id, Method: m.method, Params: m.params}
		p.jsonrpcMessage = p.request
	} else {
		var err error
		if p.jsonrpcMessage, err = jsonrpc.DecodeMessage(m.body); err != nil {
			return errMalformed(m.id, codeInvalidRequest, "the body is not one JSON-RPC message")
		}
		p.request, _ = p.jsonrpcMessage.(*jsonrpc.Request)
	}
	if p.request == nil {
		return nil // a response of the client
	}
	// The SDK would drop these silently.
	switch isNotification := strings.HasPrefix(m.method, notificationPrefix); {
	case isNotification && p.request.IsCall():
		return errMalformed(m.id, codeInvalidRequest, "a notification must not have an id")
	case !isNotification && !p.request.IsCall():
		return errMalformed(nil, codeInvalidRequest, "the id is missing")
	}
	return nil
}

// open opens a session with the message.
func (p *sessionPost) open(w http.ResponseWriter, r *http.Request, caller *providers.Identity) *rpcError {
	s, rpcErr := p.initialize(w, r, caller)
	if rpcErr != nil {
		return rpcErr
	}
	p.finish(r.Context())
	if r.Context().Err() != nil { // the client may not know the session ID
		s.end(SessionAbandoned)
	}
	return nil
}

// initialize passes the message to a new session and waits for the response. The session is added to the
// table only if initialize succeeded: a failed one must not end another session to make room. It counts as
// idle as soon as it is in the table, even before the client has read the response: otherwise many concurrent
// initialize requests could fill the caller's limit with sessions, none of which could be ended to make room.
func (p *sessionPost) initialize(
	w http.ResponseWriter, r *http.Request, caller *providers.Identity,
) (*session, *rpcError) {
	table, owner := p.handler.sessions, caller.Principal()
	if err := table.checkRoom(owner); err != nil {
		return nil, errSessionLimit(err, table.retryAfter(owner, err))
	}
	s := newSession(owner, table, p.carried.policy.Settings.SessionTimeout)
	// Not the context of the request: the SDK uses this one for all calls in the session.
	serverSession, err := p.handler.server.Connect(context.Background(), s, nil)
	if err != nil {
		s.end(SessionFailed)
		return nil, errInternal()
	}
	p.handler.usedBy(s, caller)
	p.newSessionID = s.id
	p.keepalive = 0 // no handler runs, and the ID must not be sent before the session exists
	rpcErr := p.roundTrip(s, w, r, caller)
	if rpcErr != nil || serverSession.InitializeParams() == nil || r.Context().Err() != nil {
		s.end(SessionAbandoned)
		return s, rpcErr
	}
	s.recordBegin(r.Context(), p.recorder, SessionInfo{ID: s.id, ProtocolVersion: p.negotiatedVersion()})
	if err := table.add(s); err != nil {
		s.end(SessionAbandoned)
		p.detach()
		if errors.Is(err, errSessionEnded) {
			return nil, errNoSession()
		}
		return nil, errSessionLimit(err, table.retryAfter(owner, err))
	}
	if p.handler.endIfDenied(s, caller) {
		p.detach()
		return nil, errNoSession()
	}
	return s, nil
}

// serve serves the message in the session that it names.
func (p *sessionPost) serve(w http.ResponseWriter, r *http.Request, caller *providers.Identity) *rpcError {
	s, rpcErr := p.handler.lookupSession(r, caller, p.message.id)
	switch {
	case rpcErr != nil:
		return rpcErr
	case p.request == nil || !p.request.IsCall():
		return p.notify(s, w, r, caller)
	case invokesHandler(p.request.Method):
		if rpcErr := p.handler.beginCall(r, caller, p.message.id); rpcErr != nil {
			return rpcErr
		}
	}
	return p.call(s, w, r, caller)
}

// notify passes on a message that has no response: a notification, or a response of the client.
func (p *sessionPost) notify(
	s *session, w http.ResponseWriter, r *http.Request, caller *providers.Identity,
) *rpcError {
	s.table.beginRequest(s)
	defer s.table.endRequest(s)
	if p.request != nil {
		// Both are allocated separately: the SDK retains them.
		p.request.Extra = requestExtra(r, caller, &callContext{policy: p.carried.policy})
	}
	if p.handler.endIfDenied(s, caller) || !s.deliver(p.jsonrpcMessage) {
		return errNoSession()
	}
	setWriteDeadline(w, p.writeTimeout)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// call passes on a request, waits for the response and writes it.
func (p *sessionPost) call(s *session, w http.ResponseWriter, r *http.Request, caller *providers.Identity) *rpcError {
	s.table.beginRequest(s)
	defer s.table.endRequest(s)
	if rpcErr := p.roundTrip(s, w, r, caller); rpcErr != nil {
		return rpcErr
	}
	p.finish(r.Context())
	return nil
}

// roundTrip passes on a request and waits for the response, which finish writes. The call continues when its client
// hangs up: before MCP 2026-07-28, clients cancel with a notification.
func (p *sessionPost) roundTrip(
	s *session, w http.ResponseWriter, r *http.Request, caller *providers.Identity,
) *rpcError {
	p.start(w, r, caller)
	p.retain(p.message.reserved)
	if !s.register(&p.exchange) {
		p.reserved.release()
		return errMalformed(p.message.id, codeInvalidRequest, "a request with this id is in flight")
	}
	p.message = message{} // frees the body; params stay in memory as long as the call
	if p.handler.endIfDenied(s, caller) {
		if e := s.takeExchange(p.request.ID); e != nil {
			e.release()
		}
		return nil // finish writes the error
	}
	if s.deliver(p.request) {
		switch {
		case p.wait(r.Context(), s.done):
			return nil
		case r.Context().Err() != nil:
			s.orphan(r.Context(), &p.exchange)
			p.detach()
			return nil
		}
	} else if e := s.takeExchange(p.request.ID); e != nil {
		e.release() // the SDK never received it
	}
	if p.abort() { // the response may have arrived with the end of the session
		return errNoSession()
	}
	return nil
}
