package mcphttp

import (
	"encoding/json"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"gatehouse/providers"
)

// ofSession serves a method other than POST where there are sessions.
func (h *Handler) ofSession(method string) http.Handler {
	switch method {
	case http.MethodGet:
		return signedIn(h.getStream)
	case http.MethodDelete:
		return signedIn(h.endSession)
	}
	// RFC 9110, section 15.5.6 wants the header.
	return &refusal{status: http.StatusMethodNotAllowed, code: codeInvalidRequest, text: "MCP knows GET, POST and DELETE", allow: "GET, POST, DELETE", reason: providers.HTTPMethodRefused}
}

// getStream serves the standing stream of a session.
func (h *Handler) getStream(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) {
	s, refused := h.named(r, who, nil)
	if _, events := accepts(r.Header); refused == nil && !events {
		refused = malformed(nil, codeInvalidRequest, "Accept must name text/event-stream")
	}
	if refused == nil && r.Header.Get(lastEventHeader) != "" {
		refused = malformed(nil, codeInvalidRequest, "no event is kept, so that no stream can be resumed")
	}
	if refused != nil {
		refused.ServeHTTP(w, r)
		return
	}
	h.sessions.stream(s, 1)
	defer h.sessions.stream(s, -1)
	st := newStanding(w, who.Expiration)
	if refused := s.stand(st, h.streams); refused != nil {
		refused.ServeHTTP(w, r)
		return
	}
	defer s.fall(st, h.streams)
	ctx, cancel := h.whileGood(r.Context(), who)
	defer cancel()
	s.hold(ctx, st, h.patience, h.settings.Keepalive)
}

// endSession ends a session, and what is in flight in it.
func (h *Handler) endSession(w http.ResponseWriter, r *http.Request, who *auth.TokenInfo) {
	s, refused := h.named(r, who, nil)
	if refused != nil {
		refused.ServeHTTP(w, r)
		return
	}
	s.end()
	hurry(w, h.patience)
	w.WriteHeader(http.StatusNoContent)
}

// named returns the session that a request names, whose message has this id, if it has one.
func (h *Handler) named(r *http.Request, who *auth.TokenInfo, id json.RawMessage) (*session, *refusal) {
	name := r.Header.Get(sessionHeader)
	if name == "" {
		return nil, sessionNeeded(id)
	}
	if s := h.sessions.of(name, who.UserID); s != nil {
		return s, nil
	}
	return nil, noSuchSession()
}
