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
	// Asked tells the model whether a person stood behind the answer.
	Asked bool `json:"asked" jsonschema:"whether a person was asked to confirm"`
}

// confirmKey names the question among a call's input requests.
const confirmKey = "confirm"

// sendGreeting shows a tool that asks before it acts. It returns the question instead of a result; the client answers it
// and calls again. Clients of the older era are asked by the SDK through their session, so one handler serves both.
func sendGreeting() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name:        "send_greeting",
		Title:       "Send a greeting",
		Description: "Sends a greeting to a name, after asking the person to confirm if the client can ask. (The demo sends it nowhere.)",
		Scopes:      []string{"greet:write"},
		Input:       boundName,
	}, func(_ context.Context, req *mcp.CallToolRequest, in greetInput) (*mcp.CallToolResult, sendGreetingOutput, error) {
		greeting := greetingFor(in.Name)
		if !canAsk(req) {
			return text("Sent without asking, because your client cannot ask (it does not support elicitation): " + greeting),
				sendGreetingOutput{Greeting: greeting, Sent: true}, nil
		}
		answer, asked := req.Params.InputResponses[confirmKey].(*mcp.ElicitResult)
		if !asked {
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{confirmKey: question(greeting)}}, sendGreetingOutput{}, nil
		}
		if yes, _ := answer.Content["send"].(bool); answer.Action != "accept" || !yes {
			return text("Nothing was sent: the person did not agree."), sendGreetingOutput{Asked: true}, nil
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

// canAsk reports whether the client said that it can put a form before a person.
func canAsk(req *mcp.CallToolRequest) bool {
	params := req.Session.InitializeParams()
	return params != nil && params.Capabilities != nil && params.Capabilities.Elicitation != nil
}
