package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/mcptools"
)

// testCatalog takes the place of the tools of the product, so that no test depends on which tools those are. Like
// them, it is empty unless tools.demo is set.
func testCatalog(settings mcptools.ToolSettings, v mcptools.Stats) mcptools.Catalog {
	if !settings.Demo {
		return mcptools.Catalog{}
	}
	return mcptools.Catalog{Tools: testTools(v, func() {})}
}

// testTools calls cancelled when a call of "wait" was cancelled.
func testTools(v mcptools.Stats, cancelled func()) []mcptools.Tool {
	return []mcptools.Tool{whoamiTool(), greetTool(), waitTool(cancelled), confirmTool(), statsTool(v)}
}

func textResult(format string, args ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

type whoamiResult struct {
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	Client    string    `json:"client"`
	Audience  []string  `json:"audience"`
	Scopes    []string  `json:"scopes"`
	ExpiresAt time.Time `json:"expires_at"`
}

// whoamiTool returns the identity of the caller. It needs no scope of its own.
func whoamiTool() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: "whoami", Description: "Returns the identity of the caller.", ReadOnly: true,
	}, func(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, whoamiResult, error) {
		id := mcptools.Caller(req)
		return nil, whoamiResult{
			Issuer: id.Issuer, Subject: id.Subject, Client: id.Client, ExpiresAt: id.Expiry.UTC(),
			// Without elements these would be null, which the schema does not allow.
			Audience: append([]string{}, id.Audience...), Scopes: append([]string{}, id.Scopes...),
		}, nil
	})
}

type nameInput struct {
	Name string `json:"name"`
}

func limitName(s *jsonschema.Schema) {
	s.Properties["name"].MinLength, s.Properties["name"].MaxLength = jsonschema.Ptr(1), jsonschema.Ptr(100)
}

type greetOutput struct {
	Greeting string `json:"greeting"`
}

// greetTool returns text and structured content, and validates its input.
func greetTool() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: "greet", Description: "Returns a greeting.", Scopes: []string{"greet:read"}, ReadOnly: true, Input: limitName,
	}, func(_ context.Context, _ *mcp.CallToolRequest, in nameInput) (*mcp.CallToolResult, greetOutput, error) {
		out := greetOutput{Greeting: fmt.Sprintf("Hello, %s!", strings.TrimSpace(in.Name))}
		return textResult("%s", out.Greeting), out, nil
	})
}

type waitInput struct {
	Steps int `json:"steps"`
}

// waitTool reports progress steps times at once, and then waits until the call is cancelled.
func waitTool(cancelled func()) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: "wait", Description: "Waits until the call is cancelled.", Scopes: []string{"greet:read"}, ReadOnly: true,
		Input: func(s *jsonschema.Schema) {
			s.Properties["steps"].Minimum, s.Properties["steps"].Maximum = jsonschema.Ptr(1.0), jsonschema.Ptr(60.0)
		},
	}, func(ctx context.Context, req *mcp.CallToolRequest, in waitInput) (*mcp.CallToolResult, struct{}, error) {
		for step := range in.Steps {
			if token := req.Params.GetProgressToken(); token != nil {
				progress := &mcp.ProgressNotificationParams{ProgressToken: token, Progress: float64(step + 1)}
				_ = req.Session.NotifyProgress(ctx, progress)
			}
		}
		<-ctx.Done()
		cancelled()
		return nil, struct{}{}, ctx.Err()
	})
}

type confirmOutput struct {
	Confirmed bool `json:"confirmed"`
}

// confirmTool asks the user a question if the client supports elicitation, and does without if not.
func confirmTool() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: "confirm", Description: "Asks the user for a confirmation.", Scopes: []string{"greet:write"}, Input: limitName,
	}, func(_ context.Context, req *mcp.CallToolRequest, in nameInput) (*mcp.CallToolResult, confirmOutput, error) {
		params := req.Session.InitializeParams()
		if params == nil || params.Capabilities == nil || params.Capabilities.Elicitation == nil {
			return textResult("not asked: the client does not support elicitation"), confirmOutput{}, nil
		}
		answer, answered := req.Params.InputResponses["confirm"].(*mcp.ElicitResult)
		if !answered {
			question := &mcp.ElicitParams{
				Mode: "form", Message: "Confirm " + in.Name + "?",
				RequestedSchema: &jsonschema.Schema{
					Type: "object", Required: []string{"yes"}, Properties: map[string]*jsonschema.Schema{"yes": {Type: "boolean"}},
				},
			}
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"confirm": question}}, confirmOutput{}, nil
		}
		if yes, _ := answer.Content["yes"].(bool); answer.Action != "accept" || !yes {
			return textResult("declined"), confirmOutput{}, nil
		}
		return textResult("confirmed"), confirmOutput{Confirmed: true}, nil
	})
}

type traceInput struct {
	// Code makes the tool fail with that JSON-RPC error; -1 makes it return a result that says so.
	Code int `json:"code,omitempty"`
}

type traceResult struct {
	Trace string `json:"trace"`
	Span  string `json:"span"`
}

// traceTool returns the span in its context, or fails.
func traceTool() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: "trace", Description: "Returns the current span.", ReadOnly: true,
	}, func(ctx context.Context, _ *mcp.CallToolRequest, in traceInput) (*mcp.CallToolResult, traceResult, error) {
		span := trace.SpanContextFromContext(ctx)
		switch in.Code {
		case 0:
			return nil, traceResult{Trace: span.TraceID().String(), Span: span.SpanID().String()}, nil
		case -1:
			return nil, traceResult{}, errors.New("canary-result")
		}
		return nil, traceResult{}, &jsonrpc.Error{Code: int64(in.Code), Message: "canary-result"}
	})
}

type statsResult struct {
	Requests   map[string]int64 `json:"requests"`
	Sessions   int              `json:"sessions"`
	KeysUsable bool             `json:"keys_usable"`
}

// statsTool returns all of v, and needs a scope that the first sign-in does not cover.
func statsTool(v mcptools.Stats) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: "stats", Description: "Returns statistics of the server.", Scopes: []string{"gatehouse:admin"}, ReadOnly: true,
	}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, statsResult, error) {
		return nil, statsResult{Requests: v.Outcomes(), Sessions: v.Sessions(), KeysUsable: v.Keys().Usable}, nil
	})
}

// addTraced adds one of each kind that metrics and spans name.
func addTraced(c *mcptools.Catalog) {
	c.Tools = append(c.Tools, traceTool())
	c.Prompts = []mcptools.Prompt{{
		Prompt: &mcp.Prompt{Name: "plan"},
		Handler: func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Description: "canary-result"}, nil
		},
	}}
	read := func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{
			Contents: []*mcp.ResourceContents{{URI: req.Params.URI, Text: "canary-result"}},
		}, nil
	}
	c.Resources = []mcptools.Resource{{Resource: &mcp.Resource{URI: "doc://a", Name: "a"}, Handler: read}}
	c.ResourceTemplates = []mcptools.ResourceTemplate{{
		Template: &mcp.ResourceTemplate{URITemplate: "note://{id}", Name: "note"}, Handler: read,
	}}
}
