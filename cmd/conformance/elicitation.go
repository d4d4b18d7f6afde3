package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// elicitations returns the fixtures that request input from the user. Each returns the request instead of a
// result. For clients of the older era, the SDK sends it over their session, so one handler serves both eras.
func elicitations() []mcptools.Tool {
	return []mcptools.Tool{
		fixtureWith("test_elicitation", nil, func(_ context.Context, req *mcp.CallToolRequest,
			in messageInput) (*mcp.CallToolResult, error) {
			return elicitForm(req, in.Message, `{"type": "object", "required": ["username", "email"], "properties": {
				"username": {"type": "string", "description": "User's response"},
				"email": {"type": "string", "description": "User's email address"}}}`)
		}),
		fixture("test_elicitation_sep1034_defaults",
			func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return elicitForm(req, "Is this right?", defaults)
			}),
		fixture("test_elicitation_sep1330_enums",
			func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return elicitForm(req, "Which of these?", enums)
			}),
		fixture("test_input_required_result_elicitation",
			func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				content, ok := accepted(req.Params.InputResponses, nameKey)
				if !ok {
					return requestInput(mcp.InputRequestMap{nameKey: nameForm("What is your name?")}, "")
				}
				return textResult("Hello, %v!", content["name"])
			}),
		fixture("test_input_required_result_request_state", confirm),
		fixture("test_input_required_result_tampered_state", confirm),
		fixture("test_input_required_result_multi_round", requestTwice),
	}
}

type messageInput struct {
	Message string `json:"message"`
}

const (
	nameKey    = "user_name"
	confirmKey = "confirm"
)

// requestInput returns input requests, and a state that the client returns with the responses.
func requestInput(requests mcp.InputRequestMap, state string) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{InputRequests: requests, RequestState: state}, nil
}

func form(message, schema string) mcp.InputRequest {
	return &mcp.ElicitParams{Mode: "form", Message: message, RequestedSchema: json.RawMessage(schema)}
}

func nameForm(message string) mcp.InputRequest {
	return form(message, `{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}`)
}

// accepted returns the content of the form for key, and false if there is no response yet, or the user did
// not accept.
func accepted(responses mcp.InputResponseMap, key string) (map[string]any, bool) {
	answer, ok := responses[key].(*mcp.ElicitResult)
	if !ok || answer.Action != "accept" {
		return nil, false
	}
	return answer.Content, true
}

// elicitForm requests a form and returns the response as text.
func elicitForm(req *mcp.CallToolRequest, message, schema string) (*mcp.CallToolResult, error) {
	answer, ok := req.Params.InputResponses["form"].(*mcp.ElicitResult)
	if !ok {
		return requestInput(mcp.InputRequestMap{"form": form(message, schema)}, "")
	}
	return textResult("Elicitation completed: action=%s, content=%v", answer.Action, answer.Content)
}

// confirm sends a state to the client, and accepts it only if it is returned unmodified.
func confirm(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if req.Params.RequestState == "" {
		request := form("Please confirm",
			`{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}`)
		return requestInput(mcp.InputRequestMap{confirmKey: request}, seal("confirming"))
	}
	if _, ok := unseal(req.Params.RequestState); !ok {
		return nil, errTampered()
	}
	content, ok := accepted(req.Params.InputResponses, confirmKey)
	return textResult("state-ok, confirmed: %t, %v", ok, content["ok"])
}

func errTampered() error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "requestState is not from this server"}
}

// requestTwice needs two rounds. The server keeps nothing between them: the state contains the result of the
// first.
func requestTwice(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if req.Params.RequestState == "" {
		return requestInput(mcp.InputRequestMap{"step1": nameForm("Step 1: What is your name?")}, seal("step1"))
	}
	state, ok := unseal(req.Params.RequestState)
	if !ok {
		return nil, errTampered()
	}
	if state == "step1" {
		first, _ := accepted(req.Params.InputResponses, "step1")
		request := form("Step 2: What is your favorite color?",
			`{"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}`)
		return requestInput(mcp.InputRequestMap{"step2": request}, seal(fmt.Sprint(first["name"])))
	}
	second, _ := accepted(req.Params.InputResponses, "step2")
	return textResult("%s likes %v.", state, second["color"])
}

// defaults is a form with a default for every primitive type (SEP-1034).
const defaults = `{"type": "object", "properties": {
  "name": {"type": "string", "default": "John Doe"},
  "age": {"type": "integer", "default": 30},
  "score": {"type": "number", "default": 95.5},
  "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
  "verified": {"type": "boolean", "default": true}
}}`

// enums is a form with every kind of choice (SEP-1330).
const enums = `{"type": "object", "properties": {
  "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
  "titledSingle": {"type": "string", "oneOf": [
    {"const": "value1", "title": "First Option"}, {"const": "value2", "title": "Second Option"},
    {"const": "value3", "title": "Third Option"}]},
  "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
    "enumNames": ["Option One", "Option Two", "Option Three"]},
  "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
  "titledMulti": {"type": "array", "items": {"anyOf": [
    {"const": "value1", "title": "First Choice"}, {"const": "value2", "title": "Second Choice"},
    {"const": "value3", "title": "Third Choice"}]}}
}}`
