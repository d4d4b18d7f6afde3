package mcphttp

import (
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// sound refuses a result that cannot be written, such as one with a number in its _meta that is none. The SDK would answer nothing at
// all, and the client wait for ever. What is made of texts, as nearly everything is, needs no trial.
func sound(result mcp.Result) error {
	if plain(result) {
		return nil
	}
	if _, err := json.Marshal(result); err != nil {
		return mcptools.OutputError{Err: fmt.Errorf("writing the result: %w", err)}
	}
	return nil
}

func plain(result mcp.Result) bool {
	switch r := result.(type) {
	case *mcp.CallToolResult:
		_, written := r.StructuredContent.(json.RawMessage)
		if !written && r.StructuredContent != nil || r.InputRequests != nil || len(r.Meta) > 0 {
			return false
		}
		for _, c := range r.Content {
			if !plainContent(c) {
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

func plainContent(c mcp.Content) bool {
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
