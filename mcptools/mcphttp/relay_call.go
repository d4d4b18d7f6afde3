package mcphttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	segmentio "github.com/segmentio/encoding/json"

	"gatehouse/mcptools"
	"gatehouse/providers/rawjson"
)

// relayCall returns the request of a modern call of a relayed tool, or nil if the SDK has to judge it. Such a call
// passes through the middleware, but not through the SDK's server, which would decode its params four times, each time
// with a new buffer of 32 KiB: half as much again as a relayed call costs now.
func (h *Handler) relayCall(m message) *mcp.CallToolRequest {
	if m.method != methodCallTool || h.relays[m.name] == nil {
		return nil
	}
	params := &mcp.CallToolParamsRaw{}
	if _, err := segmentio.Parse(m.params, params, segmentio.DontMatchCaseInsensitiveStructFields); err != nil {
		return nil
	}
	// The SDK answers with an error of its own if these are missing or of another type.
	var meta [1]json.RawMessage
	var client [2]json.RawMessage
	is := func(raw json.RawMessage, target any) bool {
		return !isAbsent(raw) && json.Unmarshal(raw, target) == nil
	}
	if rawjson.Members(m.params, meta[:], "_meta") != nil ||
		rawjson.Members(meta[0], client[:], mcp.MetaKeyClientCapabilities, mcp.MetaKeyClientInfo) != nil ||
		!is(client[0], new(mcp.ClientCapabilities)) || client[1] != nil && !is(client[1], new(mcp.Implementation)) {
		return nil
	}
	return &mcp.CallToolRequest{Params: params}
}

// relay handles the call of a relayed tool, as serveBySDK does others. The handler runs in the goroutine of the
// request: a second one would add two wake-ups, a twentieth of the latency of a call.
func (c *statelessConn) relay(ctx context.Context) (isAnswered bool, err error) {
	c.startKeepalive()
	defer c.stopKeepalive()
	response := &jsonrpc.Response{ID: c.request.ID}
	c.relayed.Extra = &c.extra
	result, err := c.handler.callRelayed(mcptools.WithProgress(ctx, c.sendProgress), methodCallTool, c.relayed)
	if err == nil {
		response.Result, err = compacted(result)
	}
	if err != nil {
		response.Error = wireError(err)
	}
	_ = c.store(response) // fails if the operator ended the call, or the client left during a comment
	select {
	case <-c.clientGone:
		c.detach()
		return false, nil
	default:
		return true, nil
	}
}

// sendProgress sends a progress notification to the client.
func (c *statelessConn) sendProgress(_ context.Context, params *mcp.ProgressNotificationParams) error {
	text, err := segmentio.Append(nil, params, 0)
	if err != nil {
		return err
	}
	return c.send(&jsonrpc.Request{Method: "notifications/progress", Params: text})
}

// compacted returns the encoded result of a relayed tool without the blanks between its tokens, as the SDK writes it.
func compacted(result mcp.Result) (json.RawMessage, error) {
	verbatim, ok := result.(*mcptools.Verbatim)
	var text bytes.Buffer
	if !ok || json.Compact(&text, verbatim.JSON) != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
	}
	return text.Bytes(), nil
}

// wireError returns an error as the SDK writes it.
func wireError(err error) error {
	if fault, ok := errors.AsType[*jsonrpc.Error](err); ok {
		return fault
	}
	return &jsonrpc.Error{Message: err.Error()}
}

// notDispatched is what follows the middleware for relayed calls, and is never called: the middleware has their
// handlers.
func notDispatched(context.Context, string, mcp.Request) (mcp.Result, error) {
	return nil, errors.New("the tool is not relayed")
}
