package mcphttp

import (
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	segmentio "github.com/segmentio/encoding/json"
)

// uncheckedParamsBytes is the length up to which params are not decoded for a check. Nearly all are shorter.
const uncheckedParamsBytes = 4 << 10

// maxOtherParamsBytes bounds the params of methods that have no large ones.
const maxOtherParamsBytes = 16 << 10

var errInvalidParams = errors.New("params do not match the method")

// checkLargeParams checks long params before the SDK decodes them. The error of the SDK for params that it cannot
// decode quotes them, at up to five times their length.
func (m *message) checkLargeParams() *rpcError {
	switch {
	case len(m.params) <= uncheckedParamsBytes:
		return nil
	case len(m.params) > maxOtherParamsBytes && !takesLargeParams(m.method):
		return errTooLarge(m.id, "params are too large")
	}
	return m.checkDecodable()
}

// checkDecodable rejects params that the SDK cannot decode.
func (m *message) checkDecodable() *rpcError {
	if m.params == nil || isDecodable(m.method, m.params) {
		return nil
	}
	return errMalformed(m.id, codeInvalidParams, errInvalidParams.Error())
}

func takesLargeParams(method string) bool {
	switch method {
	case methodCallTool, methodGetPrompt, methodComplete:
		return true
	}
	return false
}

// isDecodable reports whether the SDK can decode the params of a request. It is true for methods whose params the
// SDK does not decode, or that have no member besides _meta.
func isDecodable(method string, params json.RawMessage) bool {
	target := paramsFor(method)
	if target == nil {
		return true
	}
	_, err := segmentio.Parse(params, target, segmentio.DontMatchCaseInsensitiveStructFields)
	return err == nil
}

// paramsFor returns the type into which the SDK decodes the params of a method.
func paramsFor(method string) any {
	switch method {
	case methodCallTool:
		return new(mcp.CallToolParamsRaw)
	case methodGetPrompt:
		return new(mcp.GetPromptParams)
	case methodRead:
		return new(mcp.ReadResourceParams)
	case methodSubscribe:
		return new(mcp.SubscribeParams)
	case methodUnsubscribe:
		return new(mcp.UnsubscribeParams)
	case methodComplete:
		return new(mcp.CompleteParams)
	case methodListen:
		return new(mcp.SubscriptionsListenParams)
	case methodListTools:
		return new(mcp.ListToolsParams)
	case methodListPrompts:
		return new(mcp.ListPromptsParams)
	case methodListResources:
		return new(mcp.ListResourcesParams)
	case methodListTemplates:
		return new(mcp.ListResourceTemplatesParams)
	case methodInitialize:
		return new(mcp.InitializeParams)
	case methodSetLevel:
		return new(struct { // the SDK's type is deprecated
			Level string `json:"level"`
		})
	case "ping":
		return new(mcp.PingParams)
	case "server/discover":
		return new(mcp.DiscoverParams)
	case "notifications/initialized":
		return new(mcp.InitializedParams)
	case "notifications/progress":
		return new(mcp.ProgressNotificationParams)
	case "notifications/cancelled":
		return new(mcp.CancelledParams)
	}
	return nil
}
