//lint:file-ignore SA1019 The suite tests logging, sampling and roots, which 2026-07-28 deprecates (SEP-2577).

package main

import (
	"context"
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// deprecated returns the fixtures for deprecated features, none of which the product offers. They are in one
// file, to be deleted together.
func deprecated() []mcptools.Tool {
	return []mcptools.Tool{
		fixture("test_tool_with_logging", writeLog),
		fixture("test_logging_tool", writeLog),
		fixture("test_missing_capability", requireSampling),
		fixture("test_input_required_result_sampling",
			func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				answer, ok := sampledText(req, "capital_question")
				if !ok {
					question := sampling("What is the capital of France?")
					return requestInput(mcp.InputRequestMap{"capital_question": question}, "")
				}
				return textResult("The model says: %s", answer)
			}),
		fixture("test_input_required_result_list_roots",
			func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				roots, ok := rootsOf(req)
				if !ok {
					return requestInput(mcp.InputRequestMap{rootsKey: &mcp.ListRootsParams{}}, "")
				}
				return textResult("Roots: %v", roots)
			}),
		fixture("test_input_required_result_multiple_inputs", requestEverything),
		fixture("test_input_required_result_capabilities", requestSupported),
		fixtureWith("test_sampling", nil, func(_ context.Context, req *mcp.CallToolRequest,
			in promptInput) (*mcp.CallToolResult, error) {
			answer, ok := sampledText(req, "completion")
			if !ok {
				return requestInput(mcp.InputRequestMap{"completion": sampling(in.Prompt)}, "")
			}
			return textResult("LLM response: %s", answer)
		}),
	}
}

type promptInput struct {
	Prompt string `json:"prompt"`
}

func announceLogging(c *mcp.ServerCapabilities) { c.Logging = &mcp.LoggingCapabilities{} }

// writeLog logs three messages. The SDK sends them if their level is at least that of the session or of the
// request, and none if no level is set.
func writeLog(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	for _, line := range []string{"Tool execution started", "Tool processing data", "Tool execution completed"} {
		if err := req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: line}); err != nil {
			return nil, err
		}
		pause(ctx)
	}
	return textResult("Done.")
}

// requireSampling refuses clients without the sampling capability, and names the missing capability (SEP-2575).
func requireSampling(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if client := req.ClientCapabilities(); client != nil && client.Sampling != nil {
		return textResult("Your client supports sampling.")
	}
	data, err := json.Marshal(mcp.MissingRequiredClientCapabilityData{
		RequiredCapabilities: &mcp.ClientCapabilities{Sampling: &mcp.SamplingCapabilities{}},
	})
	if err != nil {
		return nil, err
	}
	return nil, &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "sampling is required",
		Data: data}
}

func sampling(prompt string) mcp.InputRequest {
	return &mcp.CreateMessageParams{
		MaxTokens: 100,
		Messages:  []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: prompt}}},
	}
}

// sampledText returns the text that was sampled for key, and false if the request has no response yet.
func sampledText(req *mcp.CallToolRequest, key string) (string, bool) {
	answer, ok := req.Params.InputResponses[key].(*mcp.CreateMessageWithToolsResult)
	if !ok {
		return "", false
	}
	for _, part := range answer.Content {
		if t, isText := part.(*mcp.TextContent); isText {
			return t.Text, true
		}
	}
	return "no text", true
}

const rootsKey = "client_roots"

func rootsOf(req *mcp.CallToolRequest) (uris []string, ok bool) {
	answer, ok := req.Params.InputResponses[rootsKey].(*mcp.ListRootsResult)
	if !ok {
		return nil, false
	}
	for _, root := range answer.Roots {
		uris = append(uris, root.URI)
	}
	return uris, true
}

// requestEverything requests elicitation, sampling and roots in one round.
func requestEverything(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	content, named := accepted(req.Params.InputResponses, nameKey)
	greeting, greeted := sampledText(req, "greeting")
	roots, listed := rootsOf(req)
	if !named || !greeted || !listed {
		return requestInput(mcp.InputRequestMap{
			nameKey: nameForm("What is your name?"), "greeting": sampling("Generate a greeting"),
			rootsKey: &mcp.ListRootsParams{},
		}, seal("everything"))
	}
	return textResult("%s %v, you have %d roots.", greeting, content["name"], len(roots))
}

// requestSupported requests only what the client has capabilities for.
func requestSupported(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if len(req.Params.InputResponses) > 0 {
		return textResult("Thank you.")
	}
	client, requests := req.ClientCapabilities(), mcp.InputRequestMap{}
	if client != nil && client.Elicitation != nil {
		requests[nameKey] = nameForm("What is your name?")
	}
	if client != nil && client.Sampling != nil {
		requests["greeting"] = sampling("Generate a greeting")
	}
	if client != nil && client.RootsV2 != nil {
		requests[rootsKey] = &mcp.ListRootsParams{}
	}
	if len(requests) == 0 {
		return textResult("Your client supports no input requests.")
	}
	return requestInput(requests, "")
}
