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

// catalog is everything that the suite calls by name. What a fixture must answer is written in the suite's own scenario
// descriptions; where those leave a choice, it is made the way the product's tools make it.
func catalog(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog {
	tools := contents()
	tools = append(tools, schemas()...)
	tools = append(tools, deprecated()...)
	tools = append(tools, questions()...)
	return mcptools.Catalog{
		Tools: tools, Prompts: prompts(), Resources: resources(), ResourceTemplates: resourceTemplates(),
		Options: func(o *mcp.ServerOptions) {
			announceLogging(o.Capabilities)
			// The catalog is fixed, so no list changes; the SDK would announce that they do.
			o.Capabilities.Prompts = &mcp.PromptCapabilities{}
			o.Capabilities.Resources = &mcp.ResourceCapabilities{}
			o.CompletionHandler = func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
				return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}, nil
			}
			// The SDK keeps the list of who watches what.
			o.SubscribeHandler = func(context.Context, *mcp.SubscribeRequest) error { return nil }
			o.UnsubscribeHandler = func(context.Context, *mcp.UnsubscribeRequest) error { return nil }
		},
	}
}

const description = "A fixture of the conformance suite."

// handler is a fixture's: it gets no arguments and has no structured output.
type handler func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error)

// nothing is input or output without members.
type nothing = struct{}

// fixture is a tool without arguments. Every fixture needs a scope of its own, so that the suite's calls pass through all
// of the chain.
func fixture(name string, handle handler) mcptools.Tool {
	return fixtureWith(name, nil, func(ctx context.Context, req *mcp.CallToolRequest, _ nothing) (*mcp.CallToolResult, error) {
		return handle(ctx, req)
	})
}

// fixtureWith is a tool whose arguments are In, narrowed by schema if that is not nil.
func fixtureWith[In any](name string, schema func(*jsonschema.Schema), handle func(context.Context, *mcp.CallToolRequest, In) (*mcp.CallToolResult, error)) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: name, Description: description, Scopes: []string{"test:call"}, Input: schema,
	}, func(ctx context.Context, req *mcp.CallToolRequest, in In) (*mcp.CallToolResult, nothing, error) {
		result, err := handle(ctx, req, in)
		return result, nothing{}, err
	})
}

// always answers every call alike.
func always(content ...mcp.Content) handler {
	return func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: content}, nil
	}
}

func text(format string, args ...any) mcp.Content {
	return &mcp.TextContent{Text: fmt.Sprintf(format, args...)}
}

func said(format string, args ...any) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{Content: []mcp.Content{text(format, args...)}}, nil
}

func image() mcp.Content { return &mcp.ImageContent{MIMEType: "image/png", Data: pixel()} }

// pixel is the smallest PNG that decodes: one transparent pixel.
func pixel() []byte {
	png, _ := base64.StdEncoding.DecodeString(
		"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg==")
	return png
}

// silence is a WAV file of no samples.
func silence() []byte {
	return []byte("RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data\x00\x00\x00\x00")
}

// contents are the fixtures of every kind of content, and of what a call may do on the way to it.
func contents() []mcptools.Tool {
	return []mcptools.Tool{
		fixture("test_simple_text", always(text("This is a simple text response for testing."))),
		fixture("test_image_content", always(image())),
		fixture("test_audio_content", always(&mcp.AudioContent{MIMEType: "audio/wav", Data: silence()})),
		fixture("test_embedded_resource", always(embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."))),
		fixture("test_multiple_content_types", always(text("Multiple content types test:"), image(),
			embedded("test://mixed-content-resource", "application/json", `{"test":"data","value":123}`))),
		fixture("test_error_handling", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return nil, errors.New("this tool intentionally returns an error for testing")
		}),
		fixture("test_tool_with_progress", reportProgress),
		fixture("test_reconnection", closeStream),
		// It asks for nothing and sends nothing: its stream must hold the result alone.
		fixture("test_streaming_elicitation", always(text("There is nothing but this result on the stream."))),
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
		err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Progress: done, Total: 100})
		if err != nil {
			return nil, err
		}
		pause(ctx)
	}
	return said("Done.")
}

// closeStream ends the stream in the middle of its call, with a hint when to come back (SEP-1699), if there is anything
// to come back to: the product keeps no events, so the SDK offers no such thing.
func closeStream(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if req.Extra != nil && req.Extra.CloseSSEStream != nil {
		req.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 10 * time.Millisecond})
		pause(ctx)
	}
	return said("Done.")
}

// pause is long enough for two messages to be told apart.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}
