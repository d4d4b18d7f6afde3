package mcphttp

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// relayTable has the handlers of the tools that other servers have, by name.
type relayTable map[string]mcptools.RelayHandler

func relaysOf(c mcptools.Catalog) relayTable {
	t := relayTable{}
	for _, tool := range c.Tools {
		if relay := tool.RelayHandler(); relay != nil {
			t[tool.Name] = relay
		}
	}
	return t
}

// dispatch returns the handler of a request: that of a relayed tool, or next. A relayed call cannot pass through
// next, because the SDK converts the result of a tool to its own type.
func (t relayTable) dispatch(req mcp.Request, next mcp.MethodHandler) mcp.MethodHandler {
	call, ok := req.(*mcp.CallToolRequest)
	if !ok {
		return next
	}
	relay := t[call.Params.Name]
	if relay == nil {
		return next
	}
	return func(ctx context.Context, _ string, _ mcp.Request) (mcp.Result, error) {
		carried := callContextOf(call)
		reserved := carried.reserved
		if reserved == nil || !reserved.retainHeld() {
			return nil, context.Canceled // its request is over
		}
		defer reserved.release()
		result, err := relay(ctx, call, carried.params)
		if err != nil {
			return nil, err
		}
		// The SDK encodes the result again, and both exist until the client has read the response.
		if reserved.grow(2*len(result.JSON)) != nil {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: textTooManyBytes}
		}
		if result.Reason != "" {
			carried.failure.Store(&result.Reason)
		}
		if result.TimedOut { // by a deadline of its own
			carried.timedOut.Store(true)
		}
		return result, nil
	}
}
