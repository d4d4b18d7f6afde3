package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// schemas returns the fixtures for input schemas.
func schemas() []mcptools.Tool {
	return []mcptools.Tool{
		fixtureWith("json_schema_2020_12_tool", setKeywords,
			func(_ context.Context, _ *mcp.CallToolRequest, in map[string]any) (*mcp.CallToolResult, error) {
				return textResult("Called with %v.", in)
			}),
		fixtureWith("test_x_mcp_header", mirrorRegion,
			func(_ context.Context, _ *mcp.CallToolRequest, in regionInput) (*mcp.CallToolResult, error) {
				return textResult("The region is %s.", in.Region)
			}),
	}
}

type regionInput struct {
	Region string `json:"region,omitempty"`
}

// mirrorRegion makes clients repeat an argument in the header Mcp-Param-Region (SEP-2243).
func mirrorRegion(s *jsonschema.Schema) {
	s.Properties["region"].Extra = map[string]any{"x-mcp-header": "Region"}
}

// setKeywords sets a schema with every kind of keyword of JSON Schema 2020-12, which must reach the client
// unchanged (SEP-1613, SEP-2106).
func setKeywords(s *jsonschema.Schema) {
	*s = jsonschema.Schema{}
	if err := json.Unmarshal([]byte(keywords), s); err != nil {
		panic(fmt.Sprintf("keywords: %v", err)) // the constant is invalid
	}
}

const keywords = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "$defs": {
    "address": {
      "$anchor": "addressDef",
      "type": "object",
      "properties": {"street": {"type": "string"}, "city": {"type": "string"}}
    }
  },
  "properties": {
    "name": {"type": "string"},
    "address": {"$ref": "#/$defs/address"},
    "contactMethod": {"type": "string", "enum": ["phone", "email"]},
    "phone": {"type": "string"},
    "email": {"type": "string"}
  },
  "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
  "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
  "then": {"required": ["phone"]},
  "else": {"required": ["email"]},
  "additionalProperties": false
}`
