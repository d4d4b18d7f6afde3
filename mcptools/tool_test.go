package mcptools

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers/providertest/golden"
)

// What clients see of the tools is an interface: a change must be intended and visible in its commit.
func TestAll_ToolsLookToClientsAsBefore(t *testing.T) {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	for _, tool := range All(Stats{}) {
		tool.register(server)
	}
	near, far := mcp.NewInMemoryTransports()
	ctx := context.Background()
	if _, err := server.Connect(ctx, far, nil); err != nil {
		t.Fatal(err)
	}
	client, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, near, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	list, err := client.ListTools(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(list.Tools, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden.File(t, "testdata/tools.json", got)
}

func TestAll_EveryToolIsWellDefined(t *testing.T) {
	names := map[string]bool{}
	for _, tool := range All(Stats{}) {
		if tool.Name == "" || names[tool.Name] {
			t.Errorf("the name %q is empty or taken", tool.Name)
		}
		names[tool.Name] = true
		if tool.Description == "" {
			t.Errorf("%s has no description", tool.Name)
		}
		for _, scope := range tool.Scopes {
			if bytes.ContainsAny([]byte(scope), " \"\\") || scope == "" {
				t.Errorf("%s needs %q, which is not a scope", tool.Name, scope)
			}
		}
	}
}

func TestCatalogScopes_HasEachScopeOnce(t *testing.T) {
	got := Catalog{
		Tools:             []Tool{{Scopes: []string{"greet:read"}}, {Scopes: []string{"greet:write", "greet:read"}}, {}},
		Prompts:           []Prompt{{Scopes: []string{"plan:read", "greet:read"}}},
		Resources:         []Resource{{Scopes: []string{"doc:read"}}},
		ResourceTemplates: []ResourceTemplate{{Scopes: []string{"doc:read", "secret:read"}}},
	}.Scopes()
	if want := []string{"greet:read", "greet:write", "plan:read", "doc:read", "secret:read"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
