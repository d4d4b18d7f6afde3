// Command baseline is what the product is compared with: a program of its own, so that nothing of the product is in it.
//
//	baseline canned|bare|sessions host:port
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/cmd/compare/canned"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "baseline canned|bare|sessions host:port")
		os.Exit(2)
	}
	handlers := map[string]http.Handler{
		"canned":   canned.Answer{}, // net/http alone, with an answer of one line
		"bare":     greeter(true),   // the SDK's handler as its documentation shows it, without sessions and without any authentication
		"sessions": greeter(false),  // the same with sessions
	}
	handler, known := handlers[os.Args[1]]
	if !known {
		fmt.Fprintf(os.Stderr, "%q is none of the servers\n", os.Args[1])
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[2], handler))
	os.Exit(1)
}

type greeting struct {
	Greeting string `json:"greeting"`
}

// greeter offers the product's tool on the SDK's own handler.
func greeter(stateless bool) http.Handler {
	s := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "greet", Description: "Returns a greeting for a name."}, func(_ context.Context, _ *mcp.CallToolRequest, in struct {
		Name string `json:"name" jsonschema:"who is to be greeted"`
	}) (*mcp.CallToolResult, greeting, error) {
		out := greeting{fmt.Sprintf("Hello, %s!", strings.TrimSpace(in.Name))}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: out.Greeting}}}, out, nil
	})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: stateless})
}
