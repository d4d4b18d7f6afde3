// Command baseline is the servers that the product is compared with, in a program that contains nothing of
// the product.
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
		"canned": canned.Response{}, // net/http alone
		// the SDK's handler as its documentation shows it, without sessions or authentication
		"bare":     greeter(true),
		"sessions": greeter(false), // the same with sessions
	}
	handler, known := handlers[os.Args[1]]
	if !known {
		fmt.Fprintf(os.Stderr, "unknown server %q\n", os.Args[1])
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[2], handler))
	os.Exit(1)
}

type greeting struct {
	Greeting string `json:"greeting"`
}

// greeter serves the tool greet of the product by the SDK's own handler.
func greeter(stateless bool) http.Handler {
	s := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "greet", Description: "Returns a greeting for a name."},
		func(_ context.Context, _ *mcp.CallToolRequest, in struct {
			Name string `json:"name" jsonschema:"the name to greet"`
		}) (*mcp.CallToolResult, greeting, error) {
			out := greeting{fmt.Sprintf("Hello, %s!", strings.TrimSpace(in.Name))}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: out.Greeting}}}, out, nil
		})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server {
		return s
	}, &mcp.StreamableHTTPOptions{Stateless: stateless})
}
