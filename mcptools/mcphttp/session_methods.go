package mcphttp

import (
	"encoding/json"
	"net/http"

	"gatehouse/providers"
)

// sessionHandler serves methods other than POST if sessions are enabled.
func (e *Endpoint) sessionHandler(method string) http.Handler {
	switch method {
	case http.MethodGet:
		return e.withIdentity(e.getStream)
	case http.MethodDelete:
		return e.withIdentity(e.deleteSession)
	}
	return e.errorHandler(&rpcError{
		status: http.StatusMethodNotAllowed, code: codeInvalidRequest, text: "use GET, POST or DELETE",
		allow:  "GET, POST, DELETE", // required by RFC 9110, section 15.5.6
		reason: ReasonHTTPMethodRefused,
	})
}

// getStream serves the standalone stream of a session.
func (e *Endpoint) getStream(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
	s, rpcErr := e.lookupSession(r, caller, nil)
	if _, events := accepts(r.Header); rpcErr == nil && !events {
		rpcErr = errMalformed(nil, codeInvalidRequest, "Accept must name text/event-stream")
	}
	if rpcErr == nil && r.Header.Get(lastEventHeader) != "" {
		rpcErr = errMalformed(nil, codeInvalidRequest, "streams cannot be resumed: no events are stored")
	}
	if rpcErr != nil {
		e.writeError(w, r, rpcErr)
		return
	}
	e.sessions.addStreams(s, 1)
	defer e.sessions.addStreams(s, -1)
	st := newStandaloneStream(w, caller.ExpiryWithLeeway)
	if e.open != nil {
		st.caller = retained(caller)
	}
	if rpcErr := s.attach(st, e.streams); rpcErr != nil {
		e.writeError(w, r, rpcErr)
		return
	}
	defer s.detachStream(st, e.streams)
	e.endIfDenied(s, caller)
	ctx, cancel := e.withTokenExpiry(r.Context(), caller)
	defer cancel()
	s.serveStream(ctx, st, e.writeTimeout, e.policy.Settings.Keepalive)
	if reason := s.endedBy(); reason != "" {
		e.recorder.RecordResult(r.Context(), endedResult(reason))
	}
}

// deleteSession ends a session, and what is in flight in it.
func (h *Handler) deleteSession(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
	s, rpcErr := h.lookupSession(r, caller, nil)
	if rpcErr != nil {
		h.writeError(w, r, rpcErr)
		return
	}
	if !s.end(SessionDeleted) { // it ended in the meantime, and has its record already
		h.writeError(w, r, errNoSession())
		return
	}
	setWriteDeadline(w, h.writeTimeout)
	w.WriteHeader(http.StatusNoContent)
}

// lookupSession returns the session that a request names. id is the id of its message, if it has one.
func (h *Handler) lookupSession(
	r *http.Request, caller *providers.Identity, id json.RawMessage,
) (*session, *rpcError) {
	name := r.Header.Get(sessionHeader)
	if name == "" {
		return nil, errSessionRequired(id)
	}
	if s := h.sessions.lookup(name, caller.Principal()); s != nil {
		h.usedBy(s, caller)
		return s, nil
	}
	return nil, errNoSession()
}
