package mcphttp

import (
	"context"
	"net/http"

	"gatehouse/mcptools"
)

// Policy is the part of the configuration that can change while the server runs. One policy judges a request
// at both places: before dispatch, and in the middleware.
type Policy struct {
	// Settings are those of the endpoint. A change of Era has no effect.
	Settings Settings
	// Tools are those of the section "tools". A change of Demo has no effect.
	Tools mcptools.ToolSettings
	// RequiredScopes are needed by every call.
	RequiredScopes []string
	// MaxBodyBytes rejects a longer Content-Length before the body is read; 0 if only the server in front bounds
	// bodies.
	MaxBodyBytes int
}

// Endpoint serves requests by one policy. It implements server.Mount.
type Endpoint struct {
	*Handler
	policy *Policy
}

// With returns the endpoint that serves requests by p. Its sessions, streams and limits are those of h.
// [Handler.SetLimits] makes the limits of p apply.
func (h *Handler) With(p Policy) *Endpoint { return &Endpoint{Handler: h, policy: &p} }

// SetLimits sets the limits of sessions, calls, streams and bytes. What exceeds a lower limit is not ended.
func (h *Handler) SetLimits(s Settings) {
	s = s.WithByteLimits(0)
	h.sessions.setLimits(s)
	h.bytes.setLimits(s.MaxBytesPerUser, s.MaxBytes)
	h.streams.setLimits(s.MaxStreamsPerUser, s.MaxStreams)
	h.calls.setLimits(s.MaxCallsPerUser, s.MaxCalls)
}

// withCallContext serves a request by the SDK's own handler, which passes on the values of its context.
func (e *Endpoint) withCallContext(m message, sdk http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := &callContext{policy: e.policy, params: m.callParams(), reserved: m.reserved}
		sdk.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callContextKey{}, call)))
	})
}

// callContextFrom returns the call context of a request of [Endpoint.withCallContext].
func callContextFrom(ctx context.Context) *callContext {
	call, _ := ctx.Value(callContextKey{}).(*callContext)
	return call
}
