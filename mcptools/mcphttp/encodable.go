package mcphttp

import (
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// checkEncodable rejects a result that cannot be encoded, such as one with NaN in _meta; the SDK would never reply.
// Results of plain text, which are nearly all, are not encoded for the check.
func checkEncodable(result mcp.Result) error {
	if isPlain(result) {
		return nil
	}
	if _, err := json.Marshal(result); err != nil {
		return mcptools.OutputError{Err: fmt.Errorf("writing the result: %w", err)}
	}
	return nil
}

// isPlain reports whether a result has only values that are always encodable.
func isPlain(result mcp.Result) bool {
	switch r := result.(type) {
	case *mcptools.Verbatim:
		return true
	case *mcp.CallToolResult:
		_, isEncoded := r.StructuredContent.(json.RawMessage)
		if !isEncoded && r.StructuredContent != nil || r.InputRequests != nil || len(r.Meta) > 0 {
			return false
		}
		for _, c := range r.Content {
			if !isPlainContent(c) {
				return false
			}
		}
		return true
	case *mcp.ReadResourceResult:
		for _, c := range r.Contents {
			if c == nil || len(c.Meta) > 0 {
				return false
			}
		}
		return r.InputRequests == nil && len(r.Meta) == 0
	}
	return false
}

func isPlainContent(c mcp.Content) bool {
	switch c := c.(type) {
	case *mcp.TextContent:
		return c != nil && len(c.Meta) == 0 && c.Annotations == nil
	case *mcp.ImageContent:
		return c != nil && len(c.Meta) == 0 && c.Annotations == nil
	case *mcp.AudioContent:
		return c != nil && len(c.Meta) == 0 && c.Annotations == nil
	}
	return false
}
