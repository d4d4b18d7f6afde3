package mcphttp

import (
	"encoding/json"
	"net/http"

	"gatehouse/providers"
)

// sessionHandler serves methods other than POST if sessions are enabled.
func (h *Handler) sessionHandler(method string) http.Handler {
	switch method {
	case http.MethodGet:
		return h.withIdentity(h.getStream)
	case http.MethodDelete:
		return h.withIdentity(h.deleteSession)
	}
	return h.errorHandler(&rpcError{
		status: http.StatusMethodNotAllowed, code: codeInvalidRequest, text: "use GET, POST or DELETE",
		allow:  "GET, POST, DELETE", // required by RFC 9110, section 15.5.6
		reason: ReasonHTTPMethodRefused,
	})
}

// getStream serves the standalone stream of a session.
func (h *Handler) getStream(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
	s, rpcErr := h.lookupSession(r, caller, nil)
	if _, events := accepts(r.Header); rpcErr == nil && !events {
		rpcErr = errMalformed(nil, codeInvalidRequest, "Accept must name text/event-stream")
	}
	if rpcErr == nil && r.Header.Get(lastEventHeader) != "" {
		rpcErr = errMalformed(nil, codeInvalidRequest, "streams cannot be resumed: no events are stored")
	}
	if rpcErr != nil {
		h.writeError(w, r, rpcErr)
		return
	}
	h.sessions.addStreams(s, 1)
	defer h.sessions.addStreams(s, -1)
	st := newStandaloneStream(w, caller.ExpiryWithLeeway)
	if h.open != nil {
		st.caller = retained(caller)
	}
	if rpcErr := s.attach(st, h.streams); rpcErr != nil {
		h.writeError(w, r, rpcErr)
		return
	}
	defer s.detachStream(st, h.streams)
	h.endIfDenied(s, caller)
	ctx, cancel := h.withTokenExpiry(r.Context(), caller)
	defer cancel()
	s.serveStream(ctx, st, h.writeTimeout, h.settings.Keepalive)
	if reason := s.endedBy(); reason != "" {
		h.recorder.RecordResult(r.Context(), endedResult(reason))
	}
}

// deleteSession ends a session, and what is in flight in it.
func (h *Handler) deleteSession(w http.ResponseWriter, r *http.Request, caller *providers.Identity) {
	s, rpcErr := h.lookupSession(r, caller, nil)
	if rpcErr != nil {
		h.writeError(w, r, rpcErr)
		return
	}
	s.end()
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
