// Command baseline is the servers that the product is compared with, in a program that contains nothing of
// the product.
//
//	baseline canned|bare|sessions|echo host:port
//	baseline echo stdio
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
		fmt.Fprintln(os.Stderr, "baseline canned|bare|sessions|echo host:port, or baseline echo stdio")
		os.Exit(2)
	}
	if os.Args[1] == "echo" && os.Args[2] == "stdio" {
		if err := echo().Run(context.Background(), &mcp.StdioTransport{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	handlers := map[string]http.Handler{
		"canned": canned.Response{}, // net/http alone
		// the SDK's handler as its documentation shows it, without sessions or authentication
		"bare":     handler(greeter(), true),
		"sessions": handler(greeter(), false), // the same with sessions
		"echo":     handler(echo(), true),
	}
	h, known := handlers[os.Args[1]]
	if !known {
		fmt.Fprintf(os.Stderr, "unknown server %q\n", os.Args[1])
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[2], h))
	os.Exit(1)
}

type greeting struct {
	Greeting string `json:"greeting"`
}

// greeter has the tool greet of the product.
func greeter() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "greet", Description: "Returns a greeting for a name."},
		func(_ context.Context, _ *mcp.CallToolRequest, in struct {
			Name string `json:"name" jsonschema:"the name to greet"`
		}) (*mcp.CallToolResult, greeting, error) {
			out := greeting{fmt.Sprintf("Hello, %s!", strings.TrimSpace(in.Name))}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: out.Greeting}}}, out, nil
		})
	return s
}

// echo is an upstream: a server whose only tool returns its argument.
func echo() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "echo", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "echo", Description: "Returns a text."},
		func(_ context.Context, _ *mcp.CallToolRequest, in struct {
			Text string `json:"text" jsonschema:"the text to return"`
		}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: in.Text}}}, nil, nil
		})
	return s
}

// handler serves s by the SDK's own handler.
func handler(s *mcp.Server, stateless bool) http.Handler {
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server {
		return s
	}, &mcp.StreamableHTTPOptions{Stateless: stateless})
}
