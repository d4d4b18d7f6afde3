package mcphttp

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
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

// callContext is what travels with a request to the middleware. The context of a request cannot carry it: in
// a session, the SDK dispatches with the context of the session.
type callContext struct {
	policy *Policy
	// params are those of a tools/call, for a relayed tool; nil for every other method.
	params json.RawMessage
	// reserved is the reservation of the message, to which the result of a relayed tool is added.
	reserved *reservation
	// failure is the reason why a relayed call failed; nil if it did not. It is atomic, because the call may outlive
	// its request.
	failure atomic.Pointer[providers.Reason]
}

// addFailure adds the reason of a relayed call to what is known of the response.
func (c *callContext) addFailure(r Result) Result {
	if reason := c.failure.Load(); reason != nil {
		r.Reason = *reason
	}
	return r
}

// callContextKey is the key of the *callContext in the context of a request that the SDK's own handler serves.
type callContextKey struct{}

// callContextMember is the key of the *callContext in [auth.TokenInfo].Extra.
const callContextMember = "gatehouse.call"

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

// requestExtra is what the SDK passes to handlers besides params.
func requestExtra(r *http.Request, caller *providers.Identity, call *callContext) *mcp.RequestExtra {
	info := mcptools.TokenInfo(caller)
	info.Extra[callContextMember] = call
	return &mcp.RequestExtra{
		TokenInfo: info, Header: r.Header,
		CloseSSEStream: func(mcp.CloseSSEStreamArgs) {}, // streams cannot be resumed, so they are not closed early
	}
}

// setCaller sets the caller and the call context of a request that the SDK's own handler received: that handler
// passes on the values of the request's context, but only the SDK's bearer middleware can give it a TokenInfo. In a
// session, ctx belongs to the session and has neither, and req has the TokenInfo of its own request.
func setCaller(ctx context.Context, req mcp.Request) {
	extra := req.GetExtra()
	if extra == nil || extra.TokenInfo != nil {
		return
	}
	id, call := providers.IdentityFrom(ctx), ctx.Value(callContextKey{})
	if id == nil || call == nil {
		return
	}
	extra.TokenInfo = mcptools.TokenInfo(id)
	extra.TokenInfo.Extra[callContextMember] = call
}

// callContextOf returns the call context of a request that the SDK dispatches, or nil.
func callContextOf(req mcp.Request) *callContext {
	extra := req.GetExtra()
	if extra == nil || extra.TokenInfo == nil {
		return nil
	}
	call, _ := extra.TokenInfo.Extra[callContextMember].(*callContext)
	return call
}
