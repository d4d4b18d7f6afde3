package main

import (
	"context"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/yosida95/uritemplate/v3"

	"gatehouse/mcptools"
)

func prompts() []mcptools.Prompt {
	return []mcptools.Prompt{
		prompt("test_simple_prompt", func(map[string]string) []mcp.Content {
			return []mcp.Content{text("This is a simple prompt for testing.")}
		}),
		prompt("test_prompt_with_arguments", func(args map[string]string) []mcp.Content {
			return []mcp.Content{text("Prompt with arguments: arg1='%s', arg2='%s'", args["arg1"], args["arg2"])}
		}, "arg1", "arg2"),
		prompt("test_prompt_with_embedded_resource", func(args map[string]string) []mcp.Content {
			return []mcp.Content{embedded(args["resourceUri"], "text/plain",
				"Embedded resource content for testing."),
				text("Please process the embedded resource above.")}
		}, "resourceUri"),
		prompt("test_prompt_with_image", func(map[string]string) []mcp.Content {
			return []mcp.Content{image(), text("Please analyze the image above.")}
		}),
		{Prompt: &mcp.Prompt{Name: "test_input_required_result_prompt", Description: description},
			Handler: promptWithElicitation},
	}
}

// prompt returns a prompt with required arguments, whose messages are the user's.
func prompt(name string, messages func(args map[string]string) []mcp.Content,
	required ...string) mcptools.Prompt {
	p := &mcp.Prompt{Name: name, Description: description}
	for _, arg := range required {
		p.Arguments = append(p.Arguments, &mcp.PromptArgument{Name: arg, Required: true})
	}
	return mcptools.Prompt{Prompt: p, Handler: func(_ context.Context,
		req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		result := &mcp.GetPromptResult{}
		for _, content := range messages(req.Params.Arguments) {
			result.Messages = append(result.Messages, &mcp.PromptMessage{Role: "user", Content: content})
		}
		return result, nil
	}}
}

// promptWithElicitation requests input from the user before it returns its messages.
func promptWithElicitation(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	content, ok := accepted(req.Params.InputResponses, "user_context")
	if !ok {
		request := form("What context should the prompt use?",
			`{"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}`)
		return &mcp.GetPromptResult{InputRequests: mcp.InputRequestMap{"user_context": request}}, nil
	}
	return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user",
		Content: text("Context: %v", content["context"])}}}, nil
}

func resources() []mcptools.Resource {
	return []mcptools.Resource{
		resource("test://static-text", mcp.ResourceContents{MIMEType: "text/plain",
			Text: "This is the content of the static text resource."}),
		resource("test://static-binary", mcp.ResourceContents{MIMEType: "image/png", Blob: pixel()}),
		resource("test://watched-resource", mcp.ResourceContents{MIMEType: "text/plain",
			Text: "Clients can subscribe to it, but it never changes."}),
	}
}

func resource(uri string, contents mcp.ResourceContents) mcptools.Resource {
	contents.URI = uri
	return mcptools.Resource{
		Resource: &mcp.Resource{URI: uri, Name: uri, Description: description, MIMEType: contents.MIMEType},
		Handler: func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{&contents}}, nil
		},
	}
}

func resourceTemplates() []mcptools.ResourceTemplate {
	const pattern = "test://template/{id}/data"
	template := uritemplate.MustNew(pattern)
	return []mcptools.ResourceTemplate{{
		Template: &mcp.ResourceTemplate{URITemplate: pattern, Name: pattern, Description: description,
			MIMEType: "application/json"},
		Handler: func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			id := template.Match(req.Params.URI).Get("id").String()
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{
				URI: req.Params.URI, MIMEType: "application/json",
				Text: fmt.Sprintf(`{"id":%q,"templateTest":true,"data":"Data for ID: %s"}`, id, id),
			}}}, nil
		},
	}}
}
