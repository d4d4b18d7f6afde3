package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
)

// RelayHandler handles the calls of a tool that another server has. params are those of the request as the client
// sent them; the name and the arguments are read from req, because scopes were checked for those.
//
// Package mcphttp calls it in place of the SDK's dispatch, under the same checks and limits as every other tool. The
// session of req may be nil; progress is sent by [NotifyProgress]. It must return soon after ctx ends: until then,
// net/http serves no other request on the connection.
type RelayHandler func(ctx context.Context, req *mcp.CallToolRequest, params json.RawMessage) (*Verbatim, error)

// progressKey is the context key of what [NotifyProgress] calls.
type progressKey struct{}

// WithProgress returns a context for a relayed call outside of a session of the SDK: [NotifyProgress] calls send.
func WithProgress(
	ctx context.Context, send func(context.Context, *mcp.ProgressNotificationParams) error,
) context.Context {
	return context.WithValue(ctx, progressKey{}, send)
}

// NotifyProgress sends a progress notification to the caller of a relayed call. ctx is that of the call.
func NotifyProgress(ctx context.Context, req *mcp.CallToolRequest, params *mcp.ProgressNotificationParams) error {
	if send, ok := ctx.Value(progressKey{}).(func(context.Context, *mcp.ProgressNotificationParams) error); ok {
		return send(ctx, params)
	}
	return req.Session.NotifyProgress(ctx, params)
}

// Verbatim is the result of a relayed call. It reaches the client as JSON has it, except for the blanks between
// tokens. The SDK's own result would lose members that it does not know, and the spelling of numbers.
type Verbatim struct {
	// ResultBase makes a Verbatim a result of the SDK. What the SDK sets in it is not sent.
	mcp.ResultBase
	// JSON is one valid JSON object. The SDK sends no response if it is not valid.
	JSON json.RawMessage
	// Reason is recorded if the call failed here rather than in the other server; otherwise it is empty.
	Reason providers.Reason
	// TimedOut is true if the other server did not answer before the deadline of the call.
	TimedOut bool
}

// MarshalJSON implements json.Marshaler.
func (v *Verbatim) MarshalJSON() ([]byte, error) { return v.JSON, nil }

// Relay makes a tool whose calls are passed to handler as they are: neither arguments nor results are validated
// here. The schemas of definition must be json.RawMessage, and such that [mcp.Server.AddTool] does not panic.
func Relay(definition *mcp.Tool, scopes []string, handler RelayHandler) Tool {
	input, _ := definition.InputSchema.(json.RawMessage)
	return Tool{
		Name: definition.Name, Description: definition.Description, Scopes: scopes,
		headerParameters: hasHeaderParameters(input),
		relay:            handler,
		register:         func(server *mcp.Server) { server.AddTool(definition, notRelayed) },
	}
}

// hasHeaderParameters reports whether a schema has a member x-mcp-header, however it is escaped.
func hasHeaderParameters(schema json.RawMessage) bool {
	var value any
	return json.Unmarshal(schema, &value) == nil && hasMember(value, "x-mcp-header")
}

func hasMember(value any, name string) bool {
	switch v := value.(type) {
	case map[string]any:
		for member, inner := range v {
			if member == name || hasMember(inner, name) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(inner any) bool { return hasMember(inner, name) })
	}
	return false
}

// notRelayed is the handler that the SDK has of a relayed tool. It runs only in a server without the middleware of
// package mcphttp.
func notRelayed(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return nil, errors.New("this tool can only be called through package mcphttp")
}

// RelayHandler returns the handler of a tool of [Relay], and nil for every other tool.
func (t Tool) RelayHandler() RelayHandler { return t.relay }
