package mcptools

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// guard stands around everything that the SDK dispatches.
type guard struct {
	required []string
	scopes   map[operation][]string
	logger   *slog.Logger
}

// recover keeps a panic in a tool from ending the process. Tools run on goroutines of the SDK, out of reach of any
// recover in the HTTP chain, and the SDK leaves this to its users on purpose (go-sdk issue 1180).
func (g guard) recover(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (result mcp.Result, err error) {
		defer func() {
			if v := recover(); v != nil {
				g.logger.Error("a handler panicked", "method", method, "panic", v, "stack", string(debug.Stack()))
				result, err = nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
			}
		}()
		return next(ctx, method, req)
	}
}

// authorize checks scopes on what is really dispatched, with the identity of this very request. The HTTP layer has
// already answered an honest caller who lacks a scope; whoever gets this far without it has found two parsers that
// disagree. Unknown means no: without an identity nothing runs.
func (g guard) authorize(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		id := callerOf(req)
		if id == nil {
			g.logger.Error("a request without identity reached the MCP server", "method", method)
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "not signed in"}
		}
		needed := g.required
		if call, ok := req.(*mcp.CallToolRequest); ok {
			needed = append(needed[:len(needed):len(needed)], g.scopes[operation{methodCallTool, call.Params.Name}]...)
		}
		if missing := id.Missing(needed); len(missing) > 0 {
			g.logger.Warn("a call without its scopes got past the HTTP layer", "method", method, "missing", missing, "subject", id.Subject)
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "insufficient scope: " + strings.Join(missing, " ")}
		}
		return next(ctx, method, req)
	}
}
