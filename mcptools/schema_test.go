package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"pgregory.net/rapid"
)

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

type countdownInput struct {
	Seconds int `json:"seconds"`
}

type countdownOutput struct {
	Counted int `json:"counted"`
}

type orderInput struct {
	Name  string         `json:"name"`
	Count int            `json:"count,omitempty"`
	Tags  []string       `json:"tags,omitempty"`
	Where *place         `json:"where,omitempty"`
	More  map[string]any `json:"more,omitempty"`
}

type place struct {
	City string `json:"city"`
	Zip  string `json:"zip,omitempty"`
	Area string `json:"Area,omitempty"`
}

type orderOutput struct {
	Got  orderInput `json:"got"`
	List []string   `json:"list"`
}

// order returns its input. The name selects what else it does.
func order(
	_ context.Context,
	_ *mcp.CallToolRequest,
	in orderInput,
) (*mcp.CallToolResult, orderOutput, error) {
	out := orderOutput{Got: in, List: []string{"one"}}
	switch in.Name {
	case "fail":
		return nil, out, errors.New("it failed")
	case "protocol":
		return nil, out, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "not like this"}
	case "content":
		return text("in other words"), out, nil
	case "empty":
		return &mcp.CallToolResult{}, out, nil
	}
	return nil, out, nil
}

func orderSchema(s *jsonschema.Schema) {
	s.Properties["count"].Default = json.RawMessage("3")
	s.Properties["count"].Maximum = jsonschema.Ptr(1e17)
	s.Properties["name"].MaxLength = jsonschema.Ptr(8)
	s.Properties["where"].AdditionalProperties = nil // any other members
}

// newCaller returns a function that calls a tool with encoded arguments, and returns the result or the error as text.
func newCaller(t testing.TB, register func(*mcp.Server)) func(name string, arguments json.RawMessage) string {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	register(server)
	near, far := mcp.NewInMemoryTransports()
	ctx := context.Background()
	if _, err := server.Connect(ctx, far, nil); err != nil {
		t.Fatal(err)
	}
	client, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, near, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return func(name string, arguments json.RawMessage) string {
		params := &mcp.CallToolParams{Name: name}
		if len(arguments) > 0 {
			params.Arguments = arguments
		}
		result, err := client.CallTool(ctx, params)
		if err != nil {
			return "error: " + err.Error()
		}
		for _, c := range result.Content { // the SDK sorts the members
			var value any
			if one, ok := c.(*mcp.TextContent); ok && json.Unmarshal([]byte(one.Text), &value) == nil {
				sorted, _ := json.Marshal(value)
				one.Text = string(sorted)
			}
		}
		written, err := json.MarshalIndent(result, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(written)
	}
}

// registerWithSDK registers the same tool as Define with mcp.AddTool.
func registerWithSDK[In, Out any](
	name string,
	narrow func(*jsonschema.Schema),
	handler mcp.ToolHandlerFor[In, Out],
) func(*mcp.Server) {
	schema, err := jsonschema.For[In](nil)
	if err != nil {
		panic(err)
	}
	if narrow != nil {
		narrow(schema)
	}
	return func(s *mcp.Server) { mcp.AddTool(s, &mcp.Tool{Name: name, InputSchema: schema}, handler) }
}

// A tool of Define handles arguments and results as one of mcp.AddTool.
func TestDefine_DoesWhatTheSDKsAddToolDoes(t *testing.T) {
	ours := newCaller(t, Define(Definition{Name: "order", Description: "x", Input: orderSchema}, order).register)
	theirs := newCaller(t, registerWithSDK("order", orderSchema, order))
	for name, arguments := range map[string]string{
		"good": `{"name":"Ada"}`,
		"nothing left out": `{"name":"Ada","count":1,"tags":["a"],"where":{"city":"x",` +
			`"zip":"1"},"more":{"a":[1,{"b":null}]}}`,
		"no arguments":                           ``,
		"empty":                                  `{}`,
		"a missing member":                       `{"count":1}`,
		"a member too many":                      `{"name":"Ada","extra":1}`,
		"a member more where more may be":        `{"name":"Ada","where":{"city":"x","extra":1}}`,
		"the wrong type":                         `{"name":1}`,
		"the wrong type inside":                  `{"name":"Ada","tags":["a",1]}`,
		"too long":                               `{"name":"Ada Lovelace"}`,
		"another case":                           `{"NAME":"Ada"}`,
		"both cases":                             `{"name":"Ada","NAME":"Eve"}`,
		"both cases where more may be":           `{"name":"Ada","where":{"city":"x","City":"y","Area":"v","area":"w"}}`,
		"a member twice":                         `{"name":"Ada","name":"Eve"}`,
		"a member twice, first too long":         `{"name":"Ada Lovelace","name":"Eve"}`,
		"a member twice, last too long":          `{"name":"Ada","name":"Ada Lovelace"}`,
		"an object twice":                        `{"name":"Ada","where":{"city":"x","zip":"1"},"where":{"city":"y"}}`,
		"an object twice, the last not complete": `{"name":"Ada","where":{"city":"x"},"where":{"zip":"1"}}`,
		"a null member":                          `{"name":null}`,
		"a null object":                          `{"name":"Ada","where":null}`,
		"a fraction for a whole number":          `{"name":"Ada","count":1.5}`,
		"a whole number as fraction":             `{"name":"Ada","count":2.0}`,
		"a large number":                         `{"name":"Ada","count":9007199254740993}`,
		"too large a number":                     `{"name":"Ada","count":1e300}`,
		"escapes":                                `{"name":"\u0041\ud83d\ude00<&>"}`,
		"a lone surrogate":                       `{"name":"\ud83d"}`,
		"the handler fails":                      `{"name":"fail"}`,
		"the handler speaks the protocol":        `{"name":"protocol"}`,
		"the handler gives content":              `{"name":"content"}`,
		"the handler gives an empty result":      `{"name":"empty"}`,
	} {
		t.Run(name, func(t *testing.T) {
			raw := json.RawMessage(arguments)
			if diff := cmp.Diff(theirs("order", raw), ours("order", raw)); diff != "" {
				t.Errorf("it differs (- the SDK, + ours):\n%s", diff)
			}
		})
	}
	t.Run("anything", func(t *testing.T) {
		// Of several faults each names one, in the random order of a map.
		fault := regexp.MustCompile(`(validating \\"arguments\\": ).*`)
		rapid.Check(t, func(t *rapid.T) {
			raw, err := json.Marshal(randomObject(t, 3))
			if err != nil {
				t.Fatal(err)
			}
			theirs, ours := fault.ReplaceAllString(theirs("order", raw), "$1"), fault.ReplaceAllString(
				ours("order", raw), "$1",
			)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("%s differs (- the SDK, + ours):\n%s", raw, diff)
			}
		})
	})
}

// randomObject returns an object with members of orderInput, and values of any type.
func randomObject(t *rapid.T, depth int) map[string]any {
	keys := rapid.SampledFrom([]string{"name", "count", "tags", "where", "more", "city", "zip", "Name", "x"})
	object := map[string]any{}
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		object[keys.Draw(t, "key")] = randomValue(t, depth)
	}
	return object
}

func randomValue(t *rapid.T, depth int) any {
	kinds := 4
	if depth > 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int64Range(-1e17, 1e17).Draw(t, "whole")
	case 3:
		return rapid.Float64Range(-1e6, 1e6).Draw(t, "number")
	case 4:
		return rapid.StringN(0, 10, -1).Draw(t, "text")
	case 5:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			list = append(list, randomValue(t, depth-1))
		}
		return list
	}
	return randomObject(t, depth-1)
}

func TestDefine_ResultsOfEveryShapeAreThoseOfTheSDK(t *testing.T) {
	list := func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, []int, error) {
		return nil, []int{1, 2}, nil
	}
	listAndText := func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, []int, error) {
		return text("one, two"), []int{1, 2}, nil
	}
	nothing := func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return text("no structure"), nil, nil
	}
	for name, both := range map[string][2]func(*mcp.Server){
		"a list": {Define(Definition{Name: "t", Description: "x"}, list).register, registerWithSDK("t", nil, list)},
		"a list that is told": {
			Define(Definition{Name: "t", Description: "x"}, listAndText).register,
			registerWithSDK("t", nil, listAndText),
		},
		"content without output": {
			Define(Definition{Name: "t", Description: "x"}, nothing).register, registerWithSDK("t", nil, nothing),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(newCaller(t, both[1])("t", nil), newCaller(t, both[0])("t", nil)); diff != "" {
				t.Errorf("it differs (- the SDK, + ours):\n%s", diff)
			}
		})
	}
}

// The client answers a question with the next call; until then there is no output to validate.
func TestValidated_AQuestionToTheClientIsNotValidated(t *testing.T) {
	agreed, err := newSchemas(
		&jsonschema.Schema{Type: "object"}, &jsonschema.Schema{Type: "object", Required: []string{"sent"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	ask := validated(
		agreed,
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, struct{}, error) {
			return &mcp.CallToolResult{
				InputRequests: mcp.InputRequestMap{
					"confirm": &mcp.ElicitParams{
						Mode:            "form",
						Message:         "hello",
						RequestedSchema: &jsonschema.Schema{Type: "object"},
					},
				},
			}, struct{}{}, nil
		},
	)
	result, err := ask(context.Background(), &mcp.CallToolRequest{Params: &mcp.CallToolParamsRaw{Name: "ask"}})
	if err != nil || result.StructuredContent != nil || result.Content != nil {
		t.Errorf("got %+v, %v", result, err)
	}
}

// The SDK's own typed handler panics here.
func TestValidated_NullCountsAsNoArguments(t *testing.T) {
	schema := func(s *jsonschema.Schema) { s.Properties["seconds"].Default, s.Required = json.RawMessage("7"), nil }
	wait := Define(
		Definition{Name: "wait", Description: "x", Input: schema},
		func(_ context.Context, _ *mcp.CallToolRequest, in countdownInput) (*mcp.CallToolResult, countdownOutput, error) {
			return nil, countdownOutput{Counted: in.Seconds}, nil
		},
	)
	call := newCaller(t, wait.register)
	for _, arguments := range []string{"null", "{}", ""} {
		if got := call("wait", json.RawMessage(arguments)); !strings.Contains(got, `"counted": 7`) {
			t.Errorf("%q: %s", arguments, got)
		}
	}
}

func TestDefine_PanicsOnAnInvalidSchema(t *testing.T) {
	defer func() {
		if v, _ := recover().(string); !strings.Contains(v, "tool odd: input") {
			t.Errorf("it says %q", v)
		}
	}()
	Define(Definition{Name: "odd", Description: "x", Input: func(s *jsonschema.Schema) {
		s.Properties["seconds"].Default = json.RawMessage(`"seven"`)
	}}, func(context.Context, *mcp.CallToolRequest, countdownInput) (*mcp.CallToolResult, any, error) {
		return nil, nil, nil
	})
}
