package mcptools

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func add() Tool {
	type input struct{ A, B float64 }
	type output struct{ Sum float64 }
	return Define(Definition{
		Name: "add", Description: "Adds two numbers.", Scopes: []string{"math:read"}, ReadOnly: true,
	}, func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, output, error) {
		return nil, output{Sum: in.A + in.B}, nil
	})
}
