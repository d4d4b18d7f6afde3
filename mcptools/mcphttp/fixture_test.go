package mcphttp

import (
	"context"
	"net/http"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// The tools of the tests. They are independent of the tools of the server and of package demo.

type greetInput struct {
	Name string `json:"name"`
}

type greetOutput struct {
	Greeting string `json:"greeting"`
}

// greet needs a scope of its own, limits its input, and returns text and structured content.
func greet() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name: "greet", Description: "Returns a greeting.", Scopes: []string{"greet:read"}, ReadOnly: true,
		Input: func(s *jsonschema.Schema) {
			s.Properties["name"].MinLength, s.Properties["name"].MaxLength = jsonschema.Ptr(
				1,
			), jsonschema.Ptr(
				100,
			)
		},
	}, func(_ context.Context, _ *mcp.CallToolRequest, in greetInput) (*mcp.CallToolResult, greetOutput, error) {
		out := greetOutput{Greeting: "Hello, " + in.Name + "!"}
		return text(out.Greeting), out, nil
	})
}

type whoamiOutput struct {
	Subject string `json:"subject"`
}

// whoami needs no scope of its own, and returns the caller's subject.
func whoami() mcptools.Tool {
	return mcptools.Define(
		mcptools.Definition{Name: "whoami", Description: "Returns the caller.", ReadOnly: true},
		func(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, whoamiOutput, error) {
			return nil, whoamiOutput{Subject: mcptools.Caller(req).Subject}, nil
		},
	)
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

// alice returns the identity of a caller with these scopes. Her token is valid for an hour.
func alice(scopes ...string) *providers.Identity {
	expiry := time.Now().Add(time.Hour)
	return &providers.Identity{
		Issuer: "http://issuer", Subject: "alice", Scopes: scopes, Expiry: expiry, ExpiryWithLeeway: expiry,
	}
}

// authenticated puts id into the context of every request, as package server does.
func authenticated(id *providers.Identity, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(providers.WithIdentity(r.Context(), id)))
	})
}

// routed serves requests by the handler that h selects.
func routed(h *Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, handler, done := h.Route(r)
		defer done()
		handler.ServeHTTP(w, r)
	})
}

// newTool returns a tool without input, whose handler makes its own result.
func newTool(
	name string, handle func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error),
) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{Name: name, Description: "x"},
		func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			result, err := handle(ctx, req)
			return result, nil, err
		})
}
