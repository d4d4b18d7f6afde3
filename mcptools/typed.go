package mcptools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	segmentio "github.com/segmentio/encoding/json"
)

// contract is what a tool promises to take and to give.
type contract struct {
	input, output *jsonschema.Resolved
	hasDefaults   bool // the input schema fills in what a caller leaves out
}

func newContract(input, output *jsonschema.Schema) (c contract, err error) {
	if c.input, err = input.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true}); err != nil {
		return c, fmt.Errorf("input: %w", err)
	}
	if c.output, err = output.Resolve(nil); err != nil {
		return c, fmt.Errorf("output: %w", err)
	}
	c.hasDefaults = bytes.Contains(marshalled(input), []byte(`"default":`)) // perhaps the name of a member, which does no harm
	return c, nil
}

// breach is a result that is not what its tool promised: a fault of the server, and nothing for the caller to read.
type breach struct{ error }

// typed puts a contract around a typed handler. Arguments that break it never reach the handler, and the model is told why; a
// result that breaks it never reaches the client. It does what mcp.AddTool does, at less cost: that one takes a new buffer of
// 32 KiB for each of the three times that it decodes something for a call.
func typed[In, Out any](c contract, handler mcp.ToolHandlerFor[In, Out]) mcp.ToolHandler {
	return func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var in In
		if err := c.read(req.Params.Arguments, &in); err != nil {
			return failed(errors.New(truncate(err.Error(), maxRefusalBytes))), nil
		}
		result, out, err := handler(ctx, req, in)
		if err != nil {
			if wire, ok := err.(*jsonrpc.Error); ok {
				return nil, wire // the handler means the protocol, not the model
			}
			return failed(err), nil
		}
		if result == nil {
			result = &mcp.CallToolResult{}
		}
		if result.InputRequests != nil || any(out) == nil { // a question, or a tool that writes its result itself
			if raw, ok := result.StructuredContent.(json.RawMessage); ok && !json.Valid(raw) {
				return nil, breach{errors.New("the structure is not JSON")}
			}
			return result, nil
		}
		structured, err := c.write(out)
		if err != nil {
			return nil, breach{err}
		}
		result.StructuredContent = structured
		if result.Content == nil || structured[0] != '{' {
			// For clients that read only text; those of the older era take nothing but objects as structure (SEP-2106).
			result.Content = append(result.Content, &mcp.TextContent{Text: string(structured)})
		}
		return result, nil
	}
}

// read reads arguments into in. It reads what was checked, written anew: where a member comes twice, two readers may each see
// another.
func (c contract) read(arguments json.RawMessage, in any) error {
	members := map[string]any{}
	if len(arguments) > 0 {
		if err := decode(arguments, &members); err != nil {
			return fmt.Errorf(`reading "arguments": %w`, err)
		}
	}
	if members == nil { // null
		members = map[string]any{}
	}
	if c.hasDefaults {
		if err := c.input.ApplyDefaults(&members); err != nil {
			return fmt.Errorf(`applying the defaults of "arguments": %w`, err)
		}
	}
	if err := c.input.Validate(members); err != nil {
		return fmt.Errorf(`validating "arguments": %w`, err)
	}
	checked, err := json.Marshal(members)
	if err != nil {
		return fmt.Errorf(`reading "arguments": %w`, err)
	}
	return decode(checked, in)
}

// write writes out, if that is what the output schema says.
func (c contract) write(out any) (json.RawMessage, error) {
	written, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("writing the output: %w", err)
	}
	var value any
	if err := decode(written, &value); err != nil {
		return nil, fmt.Errorf("reading the output: %w", err)
	}
	if err := c.output.Validate(value); err != nil {
		return nil, fmt.Errorf("validating the output: %w", err)
	}
	return written, nil
}

// decode is the SDK's decoder without its buffer, and without its look at the depth, which has been taken by then. As there, names match exactly: encoding/json would read NAME as name, which no
// schema has looked at.
func decode(b []byte, to any) error {
	_, err := segmentio.Parse(b, to, segmentio.DontMatchCaseInsensitiveStructFields)
	return err
}

// maxRefusalBytes bounds the text that tells a model why its arguments are refused. The validator quotes what it
// refuses, which may be all of the arguments.
const maxRefusalBytes = 1 << 10

// truncate returns at most n bytes of s, and never half a character.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + " (truncated)"
}

func failed(err error) *mcp.CallToolResult {
	var result mcp.CallToolResult
	result.SetError(err)
	return &result
}
