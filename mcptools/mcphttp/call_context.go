package mcphttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// callContext is what travels with a request to the middleware, and back. The context of a request cannot carry it:
// in a session, the SDK dispatches with the context of the session. A nil callContext carries nothing.
type callContext struct {
	policy *Policy
	// span is that of the operation. It is in the context of the request, but for a session.
	span     trace.Span
	timedOut atomic.Bool
	// params are those of a tools/call, for a relayed tool; nil for every other method.
	params json.RawMessage
	// reserved is the reservation of the message, to which the result of a relayed tool is added.
	reserved *reservation
	// failure is the reason why a relayed call failed; nil if it did not. It is atomic, because the call may outlive
	// its request.
	failure atomic.Pointer[providers.Reason]
}

// complete adds to what is known of a response what only the middleware knows.
func (c *callContext) complete(r Result) Result {
	if c == nil {
		return r
	}
	if reason := c.failure.Load(); reason != nil {
		r.Reason = *reason
	}
	r.TimedOut = c.timedOut.Load()
	return r
}

// callContextKey is the key of the *callContext in the context of a request that the SDK's own handler serves.
type callContextKey struct{}

// callContextMember is the key of the *callContext in [auth.TokenInfo].Extra.
const callContextMember = "gatehouse.call"

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

// withSpan returns a context with the span of the operation, for the handler of a tool, a prompt or a resource.
func (c *callContext) withSpan(ctx context.Context) context.Context {
	if c == nil || c.span == nil {
		return ctx
	}
	span := c.span.SpanContext()
	if !span.IsValid() || trace.SpanContextFromContext(ctx).Equal(span) { // without a session it is there already
		return ctx
	}
	return trace.ContextWithSpan(ctx, c.span)
}

// recordTimeout notes that the handler of a call, which had ctx, did not return before its deadline.
func (c *callContext) recordTimeout(ctx context.Context) {
	if c != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.timedOut.Store(true)
	}
}
