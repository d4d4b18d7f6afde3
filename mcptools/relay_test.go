package mcptools_test

import (
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// A parameter that is repeated in a header is recognized however its schema is written.
func TestRelay_HeaderParameters(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]bool{
		`{"type":"object"}`: false,
		`{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A"}}}`:           true,
		`{"type":"object","properties":{"a":{"type":"string","x\u002dmcp-header":"A"}}}`:      true,
		`{"type":"object","properties":{"a":{"type":"string","description":"x-mcp-header"}}}`: false,
	} {
		tool := mcptools.Relay(&mcp.Tool{Name: "a", InputSchema: json.RawMessage(schema)}, nil, nil)
		if got := tool.HasHeaderParameters(); got != want {
			t.Errorf("%s: %v", schema, got)
		}
	}
}
