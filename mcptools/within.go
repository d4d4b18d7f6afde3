package mcptools

import (
	"context"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// callKey is where a context of the server names the request that is being worked on.
type callKey struct{}

// within returns a context for the work on req, so that what is said in it finds its way. A notification has no answer, and what is
// said because of one belongs to no request.
func within(ctx context.Context, method string, req mcp.Request) context.Context {
	if strings.HasPrefix(method, notifications) {
		return ctx
	}
	return context.WithValue(ctx, callKey{}, req.GetExtra())
}

// callIn returns the request that is being worked on in ctx, by its extra, or nil.
func callIn(ctx context.Context) *mcp.RequestExtra {
	extra, _ := ctx.Value(callKey{}).(*mcp.RequestExtra)
	return extra
}
