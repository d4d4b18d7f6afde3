package mcphttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// middleware is the receiving middleware of the SDK's server.
type middleware struct {
	scopes  scopeTable
	relays  relayTable
	stopped context.Context
	calls   *quota
	endable bool // calls can be ended by [Handler.End]
	logger  *slog.Logger
}

// wrap is one function rather than a chain: the SDK starts a goroutine for every call that it dispatches, whose stack
// grows with the depth of the calls and is copied when it does.
func (m middleware) wrap(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (result mcp.Result, err error) {
		defer m.recoverPanic(method, &result, &err)
		setCaller(ctx, req)
		call := callContextOf(req)
		ctx = call.withSpan(withCall(ctx, method, req))
		policy, err := m.authorize(method, req)
		if err != nil {
			return nil, err
		}
		if err := m.checkParams(method, req); err != nil {
			return nil, err
		}
		if invokesHandler(method) {
			// Not next itself: the variable is shared by all requests.
			dispatch := m.relays.dispatch(req, next)
			if result, err = m.runLimited(ctx, method, req, call, dispatch, policy.Settings.CallTimeout); err == nil {
				err = checkEncodable(result)
			}
			if err != nil {
				return nil, m.hideDetails(method, req, err)
			}
			return result, nil
		}
		if result, err = next(ctx, method, req); err == nil {
			m.filterLists(req, result, policy)
		}
		return result, err
	}
}

// recoverPanic keeps a panic in a handler from ending the process. Most handlers run on goroutines of the SDK, where
// net/http cannot recover them, and the SDK leaves this to its users (go-sdk issue 1180).
func (m middleware) recoverPanic(method string, result *mcp.Result, err *error) {
	if v := recover(); v != nil {
		m.logger.Error("a handler panicked", "method", method,
			"panic", providers.Printable(fmt.Sprint(v), maxLoggedError), "stack", string(debug.Stack()))
		*result, *err = nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
	}
}

// hideDetails logs an invalid result and returns a generic error: the message may quote the output. It shortens
// messages of the SDK that quote a long name.
func (m middleware) hideDetails(method string, req mcp.Request, err error) error {
	if failure, ok := errors.AsType[*jsonrpc.Error](err); ok && len(failure.Message) > mcptools.MaxErrorBytes {
		short := *failure
		short.Message = mcptools.Truncate(failure.Message, mcptools.MaxErrorBytes)
		return &short
	}
	invalid, ok := errors.AsType[mcptools.OutputError](err)
	if !ok {
		return err
	}
	m.logger.Error("a handler returned an invalid result", "method", method,
		"name", providers.Printable(operationOf(method, req).name, maxRecordedName),
		"error", providers.Printable(invalid.Error(), maxLoggedError))
	return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
}

// authorize checks the scopes of what is dispatched, with the identity of this request and the policy by which
// the HTTP layer judged it. That has already rejected a caller without a scope; a call that fails here was read
// differently by the two parsers. Without an identity and a policy nothing is dispatched.
func (m middleware) authorize(method string, req mcp.Request) (*Policy, error) {
	id, call := mcptools.Caller(req), callContextOf(req)
	if id == nil || call == nil {
		m.logger.Error("a request without identity reached the MCP server", "method", method)
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "not signed in"}
	}
	missing := id.Missing(call.policy.RequiredScopes)
	missing = append(missing, id.Missing(m.scopes.of(operationOf(method, req)))...)
	if len(missing) > 0 {
		m.logger.Warn("a call without its scopes got past the HTTP layer",
			"reason", providers.ReasonInsufficientScope, "method", method, "missing", missing,
			"subject", providers.Printable(id.Subject, maxRecordedName))
		message := textScopeMissing + ": " + strings.Join(missing, " ")
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: message}
	}
	return call.policy, nil
}

// checkParams checks what is dispatched for params that the SDK must not process: cursors (see checkCursor), and
// subscriptions to resources outside the catalog, which the SDK would retain until the session ends.
func (m middleware) checkParams(method string, req mcp.Request) error {
	switch method {
	case methodListTools, methodListPrompts, methodListResources, methodListTemplates:
		if cursorOf(req) != "" {
			return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: errUnknownCursor.Error()}
		}
	case methodSubscribe, methodListen:
		op := operationOf(method, req)
		uris := op.more
		if method == methodSubscribe {
			uris = []string{op.name}
		}
		isUnknown := func(uri string) bool { return !m.scopes.offers(uri) }
		if len(uris) > maxListenedURIs || slices.ContainsFunc(uris, isUnknown) {
			return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: textNoResource}
		}
	}
	return nil
}

// cursorOf returns the cursor of a list request, as the SDK decoded it.
func cursorOf(req mcp.Request) string {
	switch r := req.(type) {
	case *mcp.ListToolsRequest:
		if r.Params != nil {
			return r.Params.Cursor
		}
	case *mcp.ListPromptsRequest:
		if r.Params != nil {
			return r.Params.Cursor
		}
	case *mcp.ListResourcesRequest:
		if r.Params != nil {
			return r.Params.Cursor
		}
	case *mcp.ListResourceTemplatesRequest:
		if r.Params != nil {
			return r.Params.Cursor
		}
	}
	return ""
}

// operationOf returns the operation of a request as the SDK decoded it.
func operationOf(method string, req mcp.Request) operation {
	op := operation{method: method}
	switch r := req.(type) {
	case *mcp.CallToolRequest:
		op.name = r.Params.Name
	case *mcp.GetPromptRequest:
		op.name = r.Params.Name
	case *mcp.ReadResourceRequest:
		op.name = r.Params.URI
	case *mcp.SubscribeRequest:
		op.name = r.Params.URI
	case *mcp.UnsubscribeRequest:
		op.name = r.Params.URI
	case *mcp.CompleteRequest:
		if r.Params.Ref != nil {
			op.name, op.more = r.Params.Ref.Name, []string{r.Params.Ref.URI}
		}
	case *mcp.SubscriptionsListenRequest:
		// The SDK subscribes to these without calling the middleware again.
		if r.Params.Notifications != nil {
			op.more = r.Params.Notifications.ResourceSubscriptions
		}
	}
	return op
}

// invokesHandler reports whether a method invokes a handler of the catalog.
func invokesHandler(method string) bool {
	switch method {
	case methodCallTool, methodGetPrompt, methodRead, methodComplete, methodSubscribe, methodUnsubscribe:
		return true
	}
	return false
}

// runLimited limits calls of handlers: how many a caller has in flight, and how long each takes, until the server
// stops at most. Before MCP 2026-07-28, clients do not cancel by hanging up, so nothing else would end such a call.
func (m middleware) runLimited(
	ctx context.Context, method string, req mcp.Request, call *callContext, next mcp.MethodHandler, timeout time.Duration,
) (mcp.Result, error) {
	caller := req.GetExtra().TokenInfo.UserID
	if err := m.calls.acquire(caller); err != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: textTooManyCalls}
	}
	defer m.calls.release(caller, 1)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(m.stopped, cancel)()
	if m.endable {
		// Of the SDK's handler: before MCP 2026-07-28, the end of its request does not cancel the call.
		if ended := sdkCallFrom(ctx); ended != nil {
			defer context.AfterFunc(ended.context, cancel)()
		}
	}
	result, err := next(ctx, method, req)
	call.recordTimeout(ctx)
	return result, err
}

// filterLists removes from a list what the caller may not use, unless tools.show_all is set. (The SDK makes the
// lists for each request, so they can be changed.)
func (m middleware) filterLists(req mcp.Request, result mcp.Result, policy *Policy) {
	if policy.Tools.ShowAll {
		return
	}
	id := mcptools.Caller(req)
	may := func(scopes []string) bool { return len(id.Missing(scopes)) == 0 }
	switch r := result.(type) {
	case *mcp.ListToolsResult:
		r.Tools = filterList(r.Tools, func(t *mcp.Tool) bool { return may(m.scopes.tools[t.Name]) })
	case *mcp.ListPromptsResult:
		r.Prompts = filterList(r.Prompts, func(p *mcp.Prompt) bool { return may(m.scopes.prompts[p.Name]) })
	case *mcp.ListResourcesResult:
		r.Resources = filterList(r.Resources, func(one *mcp.Resource) bool {
			return may(m.scopes.ofResource(one.URI))
		})
	case *mcp.ListResourceTemplatesResult:
		r.ResourceTemplates = filterList(r.ResourceTemplates, func(one *mcp.ResourceTemplate) bool {
			return may(m.scopes.ofTemplate(one.URITemplate))
		})
	}
}

// filterList returns a new list, which is never null in JSON.
func filterList[T any](all []T, keep func(T) bool) []T {
	out := make([]T, 0, len(all))
	for _, one := range all {
		if keep(one) {
			out = append(out, one)
		}
	}
	return out
}
