package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// questions are the fixtures that ask the person. Each returns its question instead of a result, as send_greeting does;
// clients of the older era are asked through their session by the SDK, so one handler serves both.
func questions() []mcptools.Tool {
	return []mcptools.Tool{
		fixtureWith("test_elicitation", nil, func(_ context.Context, req *mcp.CallToolRequest, in asked) (*mcp.CallToolResult, error) {
			return askForm(req, in.Message, `{"type": "object", "required": ["username", "email"], "properties": {
				"username": {"type": "string", "description": "User's response"},
				"email": {"type": "string", "description": "User's email address"}}}`)
		}),
		fixture("test_elicitation_sep1034_defaults", func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return askForm(req, "Is this right?", defaults)
		}),
		fixture("test_elicitation_sep1330_enums", func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return askForm(req, "Which of these?", enums)
		}),
		fixture("test_input_required_result_elicitation", func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			person, ok := elicited(req.Params.InputResponses, nameKey)
			if !ok {
				return ask(mcp.InputRequestMap{nameKey: askName("What is your name?")}, "")
			}
			return said("Hello, %v!", person["name"])
		}),
		fixture("test_input_required_result_request_state", confirm),
		fixture("test_input_required_result_tampered_state", confirm),
		fixture("test_input_required_result_multi_round", askTwice),
	}
}

type asked struct {
	Message string `json:"message"`
}

const (
	nameKey    = "user_name"
	confirmKey = "confirm"
)

// ask returns questions, and what the server wants to be reminded of when it gets the answers.
func ask(requests mcp.InputRequestMap, state string) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{InputRequests: requests, RequestState: state}, nil
}

func form(message, schema string) mcp.InputRequest {
	return &mcp.ElicitParams{Mode: "form", Message: message, RequestedSchema: json.RawMessage(schema)}
}

func askName(message string) mcp.InputRequest {
	return form(message, `{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}`)
}

// elicited is what the person filled in under key. It reports false if the person was not asked yet, or did not agree.
func elicited(responses mcp.InputResponseMap, key string) (map[string]any, bool) {
	answer, ok := responses[key].(*mcp.ElicitResult)
	if !ok || answer.Action != "accept" {
		return nil, false
	}
	return answer.Content, true
}

// askForm shows a form and says what came of it.
func askForm(req *mcp.CallToolRequest, message, schema string) (*mcp.CallToolResult, error) {
	answer, ok := req.Params.InputResponses["form"].(*mcp.ElicitResult)
	if !ok {
		return ask(mcp.InputRequestMap{"form": form(message, schema)}, "")
	}
	return said("Elicitation completed: action=%s, content=%v", answer.Action, answer.Content)
}

// confirm carries a state through the client, and trusts it only if it comes back untouched.
func confirm(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if req.Params.RequestState == "" {
		question := form("Please confirm", `{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}`)
		return ask(mcp.InputRequestMap{confirmKey: question}, seal("confirming"))
	}
	if _, ok := unseal(req.Params.RequestState); !ok {
		return nil, errTampered()
	}
	answer, ok := elicited(req.Params.InputResponses, confirmKey)
	return said("state-ok, confirmed: %t, %v", ok, answer["ok"])
}

func errTampered() error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "requestState is not one that this server gave"}
}

// askTwice needs two rounds. Nothing is kept between them: what the first one brought travels in the state.
func askTwice(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if req.Params.RequestState == "" {
		return ask(mcp.InputRequestMap{"step1": askName("Step 1: What is your name?")}, seal("step1"))
	}
	state, ok := unseal(req.Params.RequestState)
	if !ok {
		return nil, errTampered()
	}
	if state == "step1" {
		first, _ := elicited(req.Params.InputResponses, "step1")
		question := form("Step 2: What is your favorite color?", `{"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}`)
		return ask(mcp.InputRequestMap{"step2": question}, seal(fmt.Sprint(first["name"])))
	}
	second, _ := elicited(req.Params.InputResponses, "step2")
	return said("%s likes %v.", state, second["color"])
}

// defaults has a default for every primitive type (SEP-1034).
const defaults = `{"type": "object", "properties": {
  "name": {"type": "string", "default": "John Doe"},
  "age": {"type": "integer", "default": 30},
  "score": {"type": "number", "default": 95.5},
  "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
  "verified": {"type": "boolean", "default": true}
}}`

// enums has a choice of every form (SEP-1330).
const enums = `{"type": "object", "properties": {
  "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
  "titledSingle": {"type": "string", "oneOf": [
    {"const": "value1", "title": "First Option"}, {"const": "value2", "title": "Second Option"}, {"const": "value3", "title": "Third Option"}]},
  "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]},
  "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
  "titledMulti": {"type": "array", "items": {"anyOf": [
    {"const": "value1", "title": "First Choice"}, {"const": "value2", "title": "Second Choice"}, {"const": "value3", "title": "Third Choice"}]}}
}}`
