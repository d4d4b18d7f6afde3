package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// catalog returns everything that the suite calls by name. The results are those that the suite's scenario
// descriptions require; where they leave a choice, the fixtures behave like the product's tools.
func catalog(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog {
	tools := contents()
	tools = append(tools, schemas()...)
	tools = append(tools, deprecated()...)
	tools = append(tools, elicitations()...)
	return mcptools.Catalog{
		Tools: tools, Prompts: prompts(), Resources: resources(), ResourceTemplates: resourceTemplates(),
		Options: func(o *mcp.ServerOptions) {
			announceLogging(o.Capabilities)
			// The catalog is fixed, so listChanged is not announced, which the SDK does by default.
			o.Capabilities.Prompts = &mcp.PromptCapabilities{}
			o.Capabilities.Resources = &mcp.ResourceCapabilities{}
			o.CompletionHandler = func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
				return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}, nil
			}
			// The SDK keeps the list of subscriptions.
			o.SubscribeHandler = func(context.Context, *mcp.SubscribeRequest) error { return nil }
			o.UnsubscribeHandler = func(context.Context, *mcp.UnsubscribeRequest) error { return nil }
		},
	}
}

const description = "A fixture of the conformance suite."

// handler is the handler of a fixture without arguments and structured output.
type handler func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error)

// empty is an input or output without members.
type empty = struct{}

// fixture returns a tool without arguments. All fixtures need the scope test:call, so that the suite's calls
// pass through the scope check.
func fixture(name string, handle handler) mcptools.Tool {
	return fixtureWith(name, nil, func(ctx context.Context, req *mcp.CallToolRequest,
		_ empty) (*mcp.CallToolResult, error) {
		return handle(ctx, req)
	})
}

// fixtureWith returns a tool with the arguments In. schema may restrict their schema; it may be nil.
func fixtureWith[In any](name string, schema func(*jsonschema.Schema),
	handle func(context.Context, *mcp.CallToolRequest, In) (*mcp.CallToolResult, error)) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: name, Description: description, Scopes: []string{"test:call"}, Input: schema,
	}, func(ctx context.Context, req *mcp.CallToolRequest, in In) (*mcp.CallToolResult, empty, error) {
		result, err := handle(ctx, req, in)
		return result, empty{}, err
	})
}

// constant returns a handler that returns the same content for every call.
func constant(content ...mcp.Content) handler {
	return func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: content}, nil
	}
}

func text(format string, args ...any) mcp.Content {
	return &mcp.TextContent{Text: fmt.Sprintf(format, args...)}
}

func textResult(format string, args ...any) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{Content: []mcp.Content{text(format, args...)}}, nil
}

func image() mcp.Content { return &mcp.ImageContent{MIMEType: "image/png", Data: pixel()} }

// pixel returns a PNG of one transparent pixel.
func pixel() []byte {
	png, _ := base64.StdEncoding.DecodeString(
		"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg==")
	return png
}

// silence returns a WAV file without samples.
func silence() []byte {
	return []byte("RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00" +
		"\x80\x3e\x00\x00\x02\x00\x10\x00data\x00\x00\x00\x00")
}

// contents returns the fixtures for every kind of content, and for errors, progress and streams.
func contents() []mcptools.Tool {
	return []mcptools.Tool{
		fixture("test_simple_text", constant(text("This is a simple text response for testing."))),
		fixture("test_image_content", constant(image())),
		fixture("test_audio_content", constant(&mcp.AudioContent{MIMEType: "audio/wav", Data: silence()})),
		fixture("test_embedded_resource", constant(embedded("test://embedded-resource", "text/plain",
			"This is an embedded resource content."))),
		fixture("test_multiple_content_types", constant(text("Multiple content types test:"), image(),
			embedded("test://mixed-content-resource", "application/json", `{"test":"data","value":123}`))),
		fixture("test_error_handling", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return nil, errors.New("this tool intentionally returns an error for testing")
		}),
		fixture("test_tool_with_progress", reportProgress),
		fixture("test_reconnection", closeStream),
		// Its stream must contain the result only.
		fixture("test_streaming_elicitation", constant(text("The stream contains this result only."))),
	}
}

func embedded(uri, mimeType, text string) mcp.Content {
	return &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: uri, MIMEType: mimeType, Text: text}}
}

func reportProgress(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	token := req.Params.GetProgressToken()
	for _, done := range []float64{0, 50, 100} {
		if token == nil {
			break
		}
		err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token,
			Progress: done, Total: 100})
		if err != nil {
			return nil, err
		}
		pause(ctx)
	}
	return textResult("Done.")
}

// closeStream closes the event stream during the call, with a retry delay (SEP-1699), if the SDK offers that.
// It does not for the product, which keeps no events to resume from.
func closeStream(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if req.Extra != nil && req.Extra.CloseSSEStream != nil {
		req.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 10 * time.Millisecond})
		pause(ctx)
	}
	return textResult("Done.")
}

// pause separates two messages by a measurable time.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}
