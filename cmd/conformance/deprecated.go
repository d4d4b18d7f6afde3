//lint:file-ignore SA1019 The suite tests logging, sampling and roots, which 2026-07-28 deprecates (SEP-2577).

package main

import (
	"context"
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// deprecated are the fixtures of what is on its way out. The product offers none of it; they stand in one file so that
// they can leave together.
func deprecated() []mcptools.Tool {
	return []mcptools.Tool{
		fixture("test_tool_with_logging", writeLog),
		fixture("test_logging_tool", writeLog),
		fixture("test_missing_capability", needSampling),
		fixture("test_input_required_result_sampling", func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			answer, ok := sampled(req, "capital_question")
			if !ok {
				return ask(mcp.InputRequestMap{"capital_question": sampling("What is the capital of France?")}, "")
			}
			return said("The model says: %s", answer)
		}),
		fixture("test_input_required_result_list_roots", func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			roots, ok := rootsOf(req)
			if !ok {
				return ask(mcp.InputRequestMap{rootsKey: &mcp.ListRootsParams{}}, "")
			}
			return said("Roots: %v", roots)
		}),
		fixture("test_input_required_result_multiple_inputs", askEverything),
		fixture("test_input_required_result_capabilities", askWhatIsSupported),
		fixtureWith("test_sampling", nil, func(_ context.Context, req *mcp.CallToolRequest, in prompted) (*mcp.CallToolResult, error) {
			answer, ok := sampled(req, "completion")
			if !ok {
				return ask(mcp.InputRequestMap{"completion": sampling(in.Prompt)}, "")
			}
			return said("LLM response: %s", answer)
		}),
	}
}

type prompted struct {
	Prompt string `json:"prompt"`
}

func announceLogging(c *mcp.ServerCapabilities) { c.Logging = &mcp.LoggingCapabilities{} }

// writeLog says three things. Whether any of it is sent is for the SDK to know: the session's level decides, or that of
// the request, and without one nothing is.
func writeLog(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	for _, line := range []string{"Tool execution started", "Tool processing data", "Tool execution completed"} {
		if err := req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: line}); err != nil {
			return nil, err
		}
		pause(ctx)
	}
	return said("Done.")
}

// needSampling refuses clients that did not say they can sample, and says what is missing (SEP-2575).
func needSampling(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if can := req.ClientCapabilities(); can != nil && can.Sampling != nil {
		return said("Your client can sample.")
	}
	data, err := json.Marshal(mcp.MissingRequiredClientCapabilityData{
		RequiredCapabilities: &mcp.ClientCapabilities{Sampling: &mcp.SamplingCapabilities{}},
	})
	if err != nil {
		return nil, err
	}
	return nil, &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "sampling is needed", Data: data}
}

func sampling(prompt string) mcp.InputRequest {
	return &mcp.CreateMessageParams{
		MaxTokens: 100,
		Messages:  []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: prompt}}},
	}
}

// sampled is what the model said under key. It reports false if it was not asked yet.
func sampled(req *mcp.CallToolRequest, key string) (string, bool) {
	answer, ok := req.Params.InputResponses[key].(*mcp.CreateMessageWithToolsResult)
	if !ok {
		return "", false
	}
	for _, part := range answer.Content {
		if t, isText := part.(*mcp.TextContent); isText {
			return t.Text, true
		}
	}
	return "nothing in words", true
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

// askEverything asks the person, the model and the client in one round.
func askEverything(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	person, named := elicited(req.Params.InputResponses, nameKey)
	greeting, greeted := sampled(req, "greeting")
	roots, listed := rootsOf(req)
	if !named || !greeted || !listed {
		return ask(mcp.InputRequestMap{
			nameKey: askName("What is your name?"), "greeting": sampling("Generate a greeting"), rootsKey: &mcp.ListRootsParams{},
		}, seal("everything"))
	}
	return said("%s %v, you have %d roots.", greeting, person["name"], len(roots))
}

// askWhatIsSupported asks only what the client said it can answer.
func askWhatIsSupported(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if len(req.Params.InputResponses) > 0 {
		return said("Thank you.")
	}
	can, all := req.ClientCapabilities(), mcp.InputRequestMap{}
	if can != nil && can.Elicitation != nil {
		all[nameKey] = askName("What is your name?")
	}
	if can != nil && can.Sampling != nil {
		all["greeting"] = sampling("Generate a greeting")
	}
	if can != nil && can.RootsV2 != nil {
		all[rootsKey] = &mcp.ListRootsParams{}
	}
	if len(all) == 0 {
		return said("Your client cannot be asked anything.")
	}
	return ask(all, "")
}
