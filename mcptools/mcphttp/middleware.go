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

// guard stands around everything that the SDK dispatches.
type guard struct {
	required []string
	scopes   scopeTable
	showAll  bool
	timeout  time.Duration
	stopped  context.Context
	calls    *quota
	logger   *slog.Logger
}

// around is the one receiving middleware. It is one function rather than a chain, because the SDK begins a stack of its own for
// every call, which grows, and is copied, with its depth.
func (g guard) around(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (result mcp.Result, err error) {
		defer g.recovered(method, &result, &err)
		ctx = within(ctx, method, req)
		if err := g.authorize(method, req); err != nil {
			return nil, err
		}
		if err := g.checkParams(method, req); err != nil {
			return nil, err
		}
		if runsCode(method) {
			if result, err = g.bounded(ctx, method, req, next); err == nil {
				err = sound(result)
			}
			if err != nil {
				return nil, g.unexplained(method, req, err)
			}
			return result, nil
		}
		if result, err = next(ctx, method, req); err == nil {
			g.filter(req, result)
		}
		return result, err
	}
}

// recovered keeps a panic in a tool from ending the process. Tools run on goroutines of the SDK, out of reach of any
// recover in the HTTP chain, and the SDK leaves this to its users on purpose (go-sdk issue 1180).
func (g guard) recovered(method string, result *mcp.Result, err *error) {
	if v := recover(); v != nil {
		g.logger.Error("a handler panicked", "method", method, "panic", providers.Printable(fmt.Sprint(v), maxPanic), "stack", string(debug.Stack()))
		*result, *err = nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
	}
}

// unexplained keeps from the caller in which way a tool broke its promise: the text would quote what it has no business to say.
func (g guard) unexplained(method string, req mcp.Request, err error) error {
	if failure, ok := errors.AsType[*jsonrpc.Error](err); ok && len(failure.Message) > mcptools.MaxErrorBytes {
		short := *failure // the SDK quotes names
		short.Message = mcptools.Truncate(failure.Message, mcptools.MaxErrorBytes)
		return &short
	}
	broken, ok := errors.AsType[mcptools.OutputError](err)
	if !ok {
		return err
	}
	g.logger.Error("a handler gave what cannot be sent, or what its output schema does not allow", "method", method, "name", providers.Printable(operationOf(method, req).name, maxNoted), "error", providers.Printable(broken.Error(), maxPanic))
	return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
}

// authorize checks scopes on what is really dispatched, with the identity of this very request. The HTTP layer has
// already answered an honest caller who lacks a scope; whoever gets this far without it has found two parsers that
// disagree. Unknown means no: without an identity nothing runs.
func (g guard) authorize(method string, req mcp.Request) error {
	id := mcptools.Caller(req)
	if id == nil {
		g.logger.Error("a request without identity reached the MCP server", "method", method)
		return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "not signed in"}
	}
	missing := id.Missing(g.required)
	if missing = append(missing, id.Missing(g.scopes.of(operationOf(method, req)))...); len(missing) > 0 {
		g.logger.Warn("a call without its scopes got past the HTTP layer", "reason", providers.InsufficientScope, "method", method, "missing", missing, "subject", providers.Printable(id.Subject, maxNoted))
		return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: textScopeMissing + ": " + strings.Join(missing, " ")}
	}
	return nil
}

// checkParams looks once more, at what is dispatched, for params that the SDK must not act on: cursors, and
// subscriptions to what the catalog does not offer, which the SDK would keep until the session ends.
func (g guard) checkParams(method string, req mcp.Request) error {
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
		if len(uris) > maxListenedURIs || slices.ContainsFunc(uris, func(uri string) bool { return !g.scopes.offers(uri) }) {
			return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "there is no such resource"}
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

// operationOf reads the operation from what the SDK decoded, not from what was on the wire.
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
		// The SDK subscribes to these without asking any middleware again.
		if r.Params.Notifications != nil {
			op.more = r.Params.Notifications.ResourceSubscriptions
		}
	}
	return op
}

// runsCode reports whether a method runs code of a tool, prompt or resource.
func runsCode(method string) bool {
	switch method {
	case methodCallTool, methodGetPrompt, methodRead, methodComplete, methodSubscribe, methodUnsubscribe:
		return true
	}
	return false
}

// bounded bounds what runs code: how many calls a caller has in flight, how long each may take, and not beyond the end of
// the server. Clients of the older era do not cancel by hanging up, so nothing else would end a call that nobody waits for.
func (g guard) bounded(ctx context.Context, method string, req mcp.Request, next mcp.MethodHandler) (mcp.Result, error) {
	caller := req.GetExtra().TokenInfo.UserID
	if err := g.calls.take(caller); err != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: textTooManyCalls}
	}
	defer g.calls.give(caller)
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	defer context.AfterFunc(g.stopped, cancel)()
	return next(ctx, method, req)
}

// filter leaves out of a list what the caller may not use, unless all is to be shown. (The lists of the SDK are made for each
// request, so taking from them takes from nobody else.)
func (g guard) filter(req mcp.Request, result mcp.Result) {
	if g.showAll {
		return
	}
	id := mcptools.Caller(req)
	may := func(scopes []string) bool { return len(id.Missing(scopes)) == 0 }
	switch r := result.(type) {
	case *mcp.ListToolsResult:
		r.Tools = kept(r.Tools, func(t *mcp.Tool) bool { return may(g.scopes.tools[t.Name]) })
	case *mcp.ListPromptsResult:
		r.Prompts = kept(r.Prompts, func(p *mcp.Prompt) bool { return may(g.scopes.prompts[p.Name]) })
	case *mcp.ListResourcesResult:
		r.Resources = kept(r.Resources, func(one *mcp.Resource) bool { return may(g.scopes.ofResource(one.URI)) })
	case *mcp.ListResourceTemplatesResult:
		r.ResourceTemplates = kept(r.ResourceTemplates, func(one *mcp.ResourceTemplate) bool { return may(g.scopes.ofTemplate(one.URITemplate)) })
	}
}

// kept returns those that may stay, in a list of its own: never null on the wire.
func kept[T any](all []T, stays func(T) bool) []T {
	out := make([]T, 0, len(all))
	for _, one := range all {
		if stays(one) {
			out = append(out, one)
		}
	}
	return out
}
