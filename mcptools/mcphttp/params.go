package mcphttp

import (
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	segmentio "github.com/segmentio/encoding/json"
)

// usualParamsBytes is a length of params that nearly all messages stay below.
const usualParamsBytes = 4 << 10

// maxOtherParamsBytes bounds the params of methods that are not known to take much.
const maxOtherParamsBytes = 16 << 10

var errUndecodable = errors.New("params are not what the method takes")

// checkLargeParams looks at params that are longer than usual, before the SDK does. The error that the SDK makes of
// params that it cannot decode quotes them, at up to five times their length.
func (m *message) checkLargeParams() *refusal {
	switch {
	case len(m.params) <= usualParamsBytes:
		return nil
	case len(m.params) > maxOtherParamsBytes && !takesLargeParams(m.method):
		return bodyTooLarge(m.id, "params are too large")
	}
	return m.checkDecodable()
}

// checkDecodable refuses params that the SDK could not decode.
func (m *message) checkDecodable() *refusal {
	if m.params == nil || isDecodable(m.method, m.params) {
		return nil
	}
	return malformed(m.id, codeInvalidParams, errUndecodable.Error())
}

func takesLargeParams(method string) bool {
	switch method {
	case methodCallTool, methodGetPrompt, methodComplete:
		return true
	}
	return false
}

// isDecodable reports whether the SDK can decode the params of a request. It looks at nothing for methods whose params
// the SDK does not decode, or that have no member besides _meta.
func isDecodable(method string, params json.RawMessage) bool {
	into := paramsFor(method)
	if into == nil {
		return true
	}
	_, err := segmentio.Parse(params, into, segmentio.DontMatchCaseInsensitiveStructFields)
	return err == nil
}

// paramsFor returns what the SDK decodes the params of a method into.
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
