// Package mcptools defines what a server offers: tools, prompts and resources, and the scopes that each needs.
//
// A [Tool] is a value: name, scopes, typed input and output, handler. [All] lists the tools of this server. The
// scopes of a tool are declared once, on the tool: the challenge for a caller without them, the check before the
// handler runs, and the generated documentation all read that value.
package mcptools

import (
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Tool is one tool that the server offers. [Define] makes one, and [Relay] one that another server has.
type Tool struct {
	Name        string
	Description string
	// Scopes are needed to call the tool, in addition to those that every call needs.
	Scopes []string

	headerParameters bool
	relay            RelayHandler // nil unless the tool is of another server
	register         func(*mcp.Server)
}

// HasHeaderParameters reports whether the input schema requires a parameter to be repeated in a header
// (x-mcp-header, MCP 2026-07-28).
func (t Tool) HasHeaderParameters() bool { return t.headerParameters }

// Definition describes a tool.
type Definition struct {
	// Name identifies the tool. It is unique in the server and consists of letters, digits, '_', '-' and '.'.
	Name string
	// Title is the display name.
	Title string
	// Description tells the model when to use the tool and what it returns.
	Description string
	// Scopes are needed to call the tool, in addition to those that every call needs. A tool without scopes is
	// open to every authenticated caller.
	Scopes []string
	// ReadOnly declares that the tool changes nothing, so that clients can call it without confirmation.
	ReadOnly bool
	// Destructive declares that the tool can delete or overwrite data, so that clients ask for confirmation.
	Destructive bool
	// Input may narrow the schema that is derived from the input type, for example with a minimum.
	Input func(*jsonschema.Schema)
}

// Define makes a tool from a definition and a handler. The schemas are derived from In and Out with their `json`
// and `jsonschema` tags, and every call is validated against both. Arrays are never null: a nil slice is sent as an
// empty array, and null is received as one. [Caller] returns the caller's identity. An error of the handler becomes a
// result that the model reads, so it must not contain secrets; only a *jsonrpc.Error becomes a protocol error.
//
// Define panics if a schema cannot be derived, so that the mistake shows when the program starts.
func Define[In, Out any](d Definition, handler mcp.ToolHandlerFor[In, Out]) Tool {
	input, err := jsonschema.For[In](nil)
	if err != nil {
		panic(fmt.Sprintf("tool %s: input: %v", d.Name, err))
	}
	inputArrays := forbidNullArrays(input)
	if d.Input != nil {
		d.Input(input)
	}
	output, err := jsonschema.For[Out](nil)
	if err != nil {
		panic(fmt.Sprintf("tool %s: output: %v", d.Name, err))
	}
	outputArrays := forbidNullArrays(output)
	s, err := newSchemas(input, output)
	if err != nil {
		panic(fmt.Sprintf("tool %s: %v", d.Name, err))
	}
	s.inputArrays, s.outputArrays = inputArrays, outputArrays
	openWorld, inputText := false, mustMarshal(input)
	tool := &mcp.Tool{
		Name: d.Name, Title: d.Title, Description: d.Description,
		// Marshaled once: the SDK would otherwise marshal the schemas for every list and every call.
		InputSchema: inputText, OutputSchema: mustMarshal(output),
		Annotations: &mcp.ToolAnnotations{
			ReadOnlyHint: d.ReadOnly, DestructiveHint: &d.Destructive, OpenWorldHint: &openWorld,
		},
	}
	return Tool{
		Name: d.Name, Description: d.Description, Scopes: d.Scopes,
		headerParameters: hasHeaderParameters(inputText),
		register:         func(server *mcp.Server) { server.AddTool(tool, validated(s, handler)) },
	}
}

func mustMarshal(s *jsonschema.Schema) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("schema: %v", err))
	}
	return b
}
