package demo

import (
	"context"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

type sendGreetingOutput struct {
	Greeting string `json:"greeting,omitempty" jsonschema:"what was sent; absent if nothing was"`
	Sent     bool   `json:"sent"`
	// Asked tells the model whether the user decided.
	Asked bool `json:"asked" jsonschema:"whether the user was asked to confirm"`
}

// confirmKey is the key of the question in the input requests of a call.
const confirmKey = "confirm"

// sendGreeting shows a tool that asks for confirmation. It returns the question instead of a result; the
// client repeats the call with the answer. Before MCP 2026-07-28 the SDK asks through the session, so one
// handler serves all protocol versions.
func sendGreeting() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name:  "send_greeting",
		Title: "Send a greeting",
		Description: "Sends a greeting to a name. The user is asked to confirm if the client supports it. " +
			"(The demo sends it nowhere.)",
		Scopes: []string{"greet:write"},
		Input:  boundName,
	}, func(_ context.Context, req *mcp.CallToolRequest, in greetInput) (*mcp.CallToolResult, sendGreetingOutput, error) {
		greeting := greetingFor(in.Name)
		if !canAsk(req) {
			const notice = "Sent without confirmation, because your client does not support elicitation: "
			return text(notice + greeting), sendGreetingOutput{Greeting: greeting, Sent: true}, nil
		}
		answer, asked := req.Params.InputResponses[confirmKey].(*mcp.ElicitResult)
		if !asked {
			requests := mcp.InputRequestMap{confirmKey: question(greeting)}
			return &mcp.CallToolResult{InputRequests: requests}, sendGreetingOutput{}, nil
		}
		if yes, _ := answer.Content["send"].(bool); answer.Action != "accept" || !yes {
			return text("Nothing was sent: the user did not agree."), sendGreetingOutput{Asked: true}, nil
		}
		return text("Sent: " + greeting), sendGreetingOutput{Greeting: greeting, Sent: true, Asked: true}, nil
	})
}

func question(greeting string) *mcp.ElicitParams {
	return &mcp.ElicitParams{
		Mode:    "form",
		Message: fmt.Sprintf("Send %q?", greeting),
		RequestedSchema: &jsonschema.Schema{
			Type: "object",
			Properties: map[string]*jsonschema.Schema{
				"send": {Type: "boolean", Title: "Send it", Description: "Whether the greeting may be sent"},
			},
			Required: []string{"send"},
		},
	}
}

// canAsk reports whether the client declares that it can show a form to the user.
func canAsk(req *mcp.CallToolRequest) bool {
	params := req.Session.InitializeParams()
	return params != nil && params.Capabilities != nil && params.Capabilities.Elicitation != nil
}
