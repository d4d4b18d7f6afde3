package demo

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

type greetInput struct {
	Name string `json:"name" jsonschema:"who is to be greeted"`
}

type greetOutput struct {
	Greeting string `json:"greeting"`
}

const maxName = 100

func greet() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name:        "greet",
		Title:       "Greet",
		Description: "Returns a greeting for a name.",
		Scopes:      []string{"greet:read"},
		ReadOnly:    true,
		Input:       boundName,
	}, func(_ context.Context, _ *mcp.CallToolRequest, in greetInput) (*mcp.CallToolResult, greetOutput, error) {
		out := greetOutput{Greeting: greetingFor(in.Name)}
		return text(out.Greeting), out, nil
	})
}

func greetingFor(name string) string { return fmt.Sprintf("Hello, %s!", strings.TrimSpace(name)) }

func boundName(s *jsonschema.Schema) {
	s.Properties["name"].MinLength = jsonschema.Ptr(1)
	s.Properties["name"].MaxLength = jsonschema.Ptr(maxName)
}

// text returns a result with s as text. The structured output is added to it.
func text(s string) *mcp.CallToolResult {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "�")
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}
