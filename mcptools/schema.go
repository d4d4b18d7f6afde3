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

// schemas are the input and output schema of a tool.
type schemas struct {
	input, output *jsonschema.Resolved
	hasDefaults   bool // the input schema sets members that the caller omits
	// inputArrays and outputArrays report whether a schema has an array, for which null can occur.
	inputArrays, outputArrays bool
}

func newSchemas(input, output *jsonschema.Schema) (s schemas, err error) {
	if s.input, err = input.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true}); err != nil {
		return s, fmt.Errorf("input: %w", err)
	}
	if s.output, err = output.Resolve(nil); err != nil {
		return s, fmt.Errorf("output: %w", err)
	}
	// A member that is called default matches too, which is harmless.
	s.hasDefaults = bytes.Contains(mustMarshal(input), []byte(`"default":`))
	return s, nil
}

// OutputError is a result that cannot be sent, or that does not match the output schema of its tool. It is a fault
// of the server: the text may quote the output, so it is logged and not sent to the caller.
type OutputError struct{ Err error }

// Error implements error.
func (e OutputError) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e OutputError) Unwrap() error { return e.Err }

// validated wraps a typed handler. Arguments that do not match the input schema never reach the handler, and the
// model receives the reason; a result that does not match the output schema never reaches the client. It does what
// mcp.AddTool does at lower cost: mcp.AddTool allocates a buffer of 32 KiB each of the three times that it decodes
// a value for a call.
func validated[In, Out any](s schemas, handler mcp.ToolHandlerFor[In, Out]) mcp.ToolHandler {
	return func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var in In
		if err := s.read(req.Params.Arguments, &in); err != nil {
			return errorResult(errors.New(Truncate(err.Error(), MaxErrorBytes))), nil
		}
		result, out, err := handler(ctx, req, in)
		if err != nil {
			if protocolError, ok := err.(*jsonrpc.Error); ok {
				return nil, protocolError
			}
			return errorResult(err), nil
		}
		if result == nil {
			result = &mcp.CallToolResult{}
		}
		// The handler asks the client a question, or has built the whole result itself.
		if result.InputRequests != nil || any(out) == nil {
			if raw, ok := result.StructuredContent.(json.RawMessage); ok && !json.Valid(raw) {
				return nil, OutputError{errors.New("the structured content is not JSON")}
			}
			return result, nil
		}
		structured, err := s.write(out)
		if err != nil {
			return nil, OutputError{err}
		}
		result.StructuredContent = structured
		if result.Content == nil || structured[0] != '{' {
			// For clients that read only text. Before MCP 2026-07-28, structured content must be an object.
			result.Content = append(result.Content, &mcp.TextContent{Text: string(structured)})
		}
		return result, nil
	}
}

// read validates arguments and decodes them into in. It decodes a re-encoded copy of what was validated: if a
// member is repeated, two decoders may each use a different value.
func (s schemas) read(arguments json.RawMessage, in any) error {
	members := map[string]any{}
	if len(arguments) > 0 {
		if err := decode(arguments, &members); err != nil {
			return fmt.Errorf(`reading "arguments": %w`, err)
		}
	}
	if members == nil { // null
		members = map[string]any{}
	}
	if s.inputArrays {
		_, _ = emptyNullArrays(s.input.Schema(), members)
	}
	if s.hasDefaults {
		if err := s.input.ApplyDefaults(&members); err != nil {
			return fmt.Errorf(`applying the defaults of "arguments": %w`, err)
		}
	}
	if err := s.input.Validate(members); err != nil {
		return fmt.Errorf(`validating "arguments": %w`, err)
	}
	checked, err := json.Marshal(members)
	if err != nil {
		return fmt.Errorf(`reading "arguments": %w`, err)
	}
	return decode(checked, in)
}

// write encodes out and validates it.
func (s schemas) write(out any) (json.RawMessage, error) {
	encoded, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("writing the output: %w", err)
	}
	var value any
	if err := decode(encoded, &value); err != nil {
		return nil, fmt.Errorf("reading the output: %w", err)
	}
	if s.outputArrays {
		if filled, changed := emptyNullArrays(s.output.Schema(), value); changed {
			value = filled
			if encoded, err = s.withoutNullArrays(encoded); err != nil {
				return nil, fmt.Errorf("writing the output: %w", err)
			}
		}
	}
	if err := s.output.Validate(value); err != nil {
		return nil, fmt.Errorf("validating the output: %w", err)
	}
	return encoded, nil
}

// withoutNullArrays encodes an output again with empty arrays in place of null. It decodes numbers as their text,
// because a float64 would round large integers.
func (s schemas) withoutNullArrays(encoded []byte) ([]byte, error) {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	value, _ = emptyNullArrays(s.output.Schema(), value)
	return json.Marshal(value)
}

// decode is the SDK's decoder without its buffer, and without its depth check, because the endpoint has
// already checked the depth. Like the SDK's, it matches names exactly: encoding/json would read NAME as name,
// which no schema has validated.
func decode(b []byte, to any) error {
	_, err := segmentio.Parse(b, to, segmentio.DontMatchCaseInsensitiveStructFields)
	return err
}

// MaxErrorBytes bounds an error text that may quote a request. The schema validator quotes the value that it
// rejects, which may be all of the arguments.
const MaxErrorBytes = 1 << 10

// Truncate returns at most n bytes of s, cut at a rune boundary and marked as truncated.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + " (truncated)"
}

func errorResult(err error) *mcp.CallToolResult {
	var result mcp.CallToolResult
	result.SetError(err)
	return &result
}
