// Package mcptools says what a caller may do: the tools, the scopes they need, and the MCP handler in both protocol eras.
//
// A [Tool] is a value: name, scopes, typed input and output, handler. All stand in one list, [All]. What a tool needs is
// written once, on the tool; the challenge for a caller who lacks it and the check of what is really dispatched both read
// it there.
package mcptools

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
)

// Tool is one tool that the server offers. Make one with [Define].
type Tool struct {
	Name        string
	Description string
	// Scopes are needed to call the tool, beyond those that every call needs.
	Scopes []string

	// parametersInHeaders is true if a parameter has to stand in a header too (x-mcp-header in its schema).
	parametersInHeaders bool

	register func(*mcp.Server)
}

// Definition is what a tool says about itself.
type Definition struct {
	// Name is what clients call, unique in the server: letters, digits, '_', '-', '.'.
	Name string
	// Title is for people.
	Title string
	// Description tells the model when to use the tool and what comes back.
	Description string
	// Scopes are needed to call the tool, beyond those that every call needs. None means that every caller may.
	Scopes []string
	// ReadOnly says that the tool changes nothing, so that clients need not ask before they call it.
	ReadOnly bool
	// Destructive says that the tool may undo what somebody did, so that clients ask with emphasis.
	Destructive bool
	// Input may narrow the schema that is derived from the input type, for example with a minimum.
	Input func(*jsonschema.Schema)
}

// Define makes a tool of a definition and a handler. The input schema comes from In and the output schema from Out, with
// `json` and `jsonschema` tags, and both are checked in every call. Whoever calls is in [Caller]. An error of the handler is
// a result that the model can read; it must not contain anything secret. Only a *jsonrpc.Error is one of the protocol.
//
// It panics if a schema cannot be derived: that is a mistake in the program, and it shows at the first start.
func Define[In, Out any](d Definition, handler mcp.ToolHandlerFor[In, Out]) Tool {
	input, err := jsonschema.For[In](nil)
	if err != nil {
		panic(fmt.Sprintf("tool %s: input: %v", d.Name, err))
	}
	if d.Input != nil {
		d.Input(input)
	}
	output, err := jsonschema.For[Out](nil)
	if err != nil {
		panic(fmt.Sprintf("tool %s: output: %v", d.Name, err))
	}
	agreed, err := newContract(input, output)
	if err != nil {
		panic(fmt.Sprintf("tool %s: %v", d.Name, err))
	}
	openWorld, written := false, marshalled(input)
	tool := &mcp.Tool{
		Name: d.Name, Title: d.Title, Description: d.Description,
		// Marshalled once: the SDK would otherwise marshal the schema again for every list and for every call.
		InputSchema: written, OutputSchema: marshalled(output),
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: d.ReadOnly, DestructiveHint: &d.Destructive, OpenWorldHint: &openWorld},
	}
	return Tool{
		Name: d.Name, Description: d.Description, Scopes: d.Scopes,
		parametersInHeaders: bytes.Contains(written, []byte(`"x-mcp-header"`)),
		register:            func(s *mcp.Server) { s.AddTool(tool, typed(agreed, handler)) },
	}
}

func marshalled(s *jsonschema.Schema) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("schema: %v", err))
	}
	return b
}

// Caller returns who makes this call. In a session the context of a handler names nobody, so the identity comes from the
// request alone. It is never nil inside a tool: the guard lets no request
// through without one.
func Caller(req *mcp.CallToolRequest) *providers.Identity {
	return callerOf(req)
}

func callerOf(req mcp.Request) *providers.Identity {
	extra := req.GetExtra()
	if extra == nil {
		return nil
	}
	return providers.FromTokenInfo(extra.TokenInfo)
}
