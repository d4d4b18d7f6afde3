package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// schemas are the fixtures whose input schema is what is tested.
func schemas() []mcptools.Tool {
	return []mcptools.Tool{
		fixtureWith("json_schema_2020_12_tool", useKeywords, func(_ context.Context, _ *mcp.CallToolRequest, in map[string]any) (*mcp.CallToolResult, error) {
			return said("Called with %v.", in)
		}),
		fixtureWith("test_x_mcp_header", mirrorRegion, func(_ context.Context, _ *mcp.CallToolRequest, in mirrored) (*mcp.CallToolResult, error) {
			return said("The region is %s.", in.Region)
		}),
	}
}

type mirrored struct {
	Region string `json:"region,omitempty"`
}

// mirrorRegion asks clients to repeat an argument in the header Mcp-Param-Region (SEP-2243).
func mirrorRegion(s *jsonschema.Schema) {
	s.Properties["region"].Extra = map[string]any{"x-mcp-header": "Region"}
}

// useKeywords puts one of each kind of keyword of JSON Schema 2020-12 into a schema; all must reach the client as they are
// (SEP-1613, SEP-2106).
func useKeywords(s *jsonschema.Schema) {
	*s = jsonschema.Schema{}
	if err := json.Unmarshal([]byte(keywords), s); err != nil {
		panic(fmt.Sprintf("keywords: %v", err)) // a mistake in the program
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
