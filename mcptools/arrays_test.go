package mcptools

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestDefine_NilSlicesAreEmptyArrays(t *testing.T) {
	type item struct {
		Tags []string `json:"tags"`
	}
	type data struct {
		Big    int64            `json:"big"`
		Names  []string         `json:"names"`
		Items  []item           `json:"items,omitempty"`
		ByName map[string][]int `json:"by_name,omitempty"`
	}
	var received data
	tool := Define(Definition{Name: "echo"}, func(_ context.Context, _ *mcp.CallToolRequest, in data) (
		*mcp.CallToolResult, data, error,
	) {
		received = in
		return nil, data{
			Big: 1<<62 + 1, Items: []item{{}, {Tags: []string{"a"}}}, ByName: map[string][]int{"none": nil},
		}, nil
	})
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	tool.register(server)
	near, far := mcp.NewInMemoryTransports()
	go func() { _ = server.Run(t.Context(), far) }()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), near, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(list.Tools[0]); err != nil || strings.Contains(string(text), `"null"`) {
		t.Errorf("a schema allows null, %v: %s", err, text)
	}
	arguments := json.RawMessage(`{"big":1,"names":null,"items":[{"tags":null}],"by_name":{"x":null}}`)
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: arguments})
	if err != nil || result.IsError {
		t.Fatalf("%v, %+v", err, result)
	}
	if received.Names == nil || received.Items[0].Tags == nil || received.ByName["x"] == nil {
		t.Errorf("the handler received %+v", received)
	}
	const want = `{"big":4611686018427387905,"by_name":{"none":[]},"items":[{"tags":[]},{"tags":["a"]}],"names":[]}`
	if text := result.Content[0].(*mcp.TextContent).Text; text != want {
		t.Errorf("the client received %s, want %s", text, want)
	}
}
