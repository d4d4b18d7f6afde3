package mcphttp

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// Every result of a handler leads to a response.
func TestCheckEncodable_UnencodableResultsAreInternalErrors(t *testing.T) {
	odd := func(name string, result *mcp.CallToolResult, err error) mcptools.Tool {
		return newTool(name, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return result, err
		})
	}
	nan := map[string]any{"x": math.NaN()}
	c := mcptools.Catalog{
		Tools: []mcptools.Tool{
			whoami(),
			odd("meta", &mcp.CallToolResult{Meta: nan}, nil),
			odd("text", &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "x", Meta: nan}}}, nil),
			odd(
				"image",
				&mcp.CallToolResult{
					Content: []mcp.Content{
						&mcp.ImageContent{Annotations: &mcp.Annotations{Priority: math.Inf(1)}},
					},
				},
				nil,
			),
			odd("raw", &mcp.CallToolResult{StructuredContent: json.RawMessage("no json")}, nil),
			odd("empty", &mcp.CallToolResult{StructuredContent: json.RawMessage{}}, nil),
			odd("structure", &mcp.CallToolResult{StructuredContent: nan}, nil),
			odd("error", nil, &jsonrpc.Error{Code: 1, Message: "x", Data: json.RawMessage("{")}),
		},
		Prompts: []mcptools.Prompt{
			{
				Prompt: &mcp.Prompt{Name: "plan"},
				Handler: func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
					return &mcp.GetPromptResult{
						Messages: []*mcp.PromptMessage{{Content: &mcp.TextContent{Meta: nan}}},
					}, nil
				},
			},
		},
		Resources: []mcptools.Resource{
			{
				Resource: &mcp.Resource{URI: "doc://a", Name: "a"},
				Handler: func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
					return &mcp.ReadResourceResult{
						Contents: []*mcp.ResourceContents{{URI: "doc://a", Text: "x", Meta: nan}},
					}, nil
				},
			},
		},
	}
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		s := connect(t, serve(t, handlerOf(c), time.Now().Add(time.Hour)), protocol)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		failures := map[string]error{}
		for _, t := range c.Tools[1:] {
			_, failures[t.Name] = s.CallTool(ctx, &mcp.CallToolParams{Name: t.Name})
		}
		_, failures["a prompt"] = s.GetPrompt(ctx, &mcp.GetPromptParams{Name: "plan"})
		_, failures["a resource"] = s.ReadResource(ctx, &mcp.ReadResourceParams{URI: "doc://a"})
		for name, err := range failures {
			if err == nil || !strings.Contains(err.Error(), "internal error") {
				t.Errorf("%s, %s: %v", protocol, name, err)
			}
		}
		if r, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "whoami"}); err != nil || r.IsError {
			t.Errorf("%s: afterwards whoami answers %v, %v", protocol, r, err)
		}
	}
}
