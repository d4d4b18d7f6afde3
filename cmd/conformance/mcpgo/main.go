// Command mcpgo is a client with github.com/mark3labs/mcp-go, which requests no scope. It registers, signs
// in, and lists and calls tools. It is in a module of its own, so that the server does not depend on that
// library. It is for tests only.
//
// Usage: BROWSER=PROGRAM mcpgo URL PROTOCOL
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"
)

const callbackPath = "/oauth/callback"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: mcpgo URL PROTOCOL")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "mcpgo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, resource, protocol string) error {
	callback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer callback.Close()
	c, err := client.NewOAuthStreamableHttpClient(resource, client.OAuthConfig{
		RedirectURI: "http://" + callback.Addr().String() + callbackPath,
		TokenStore:  client.NewMemoryTokenStore(), PKCEEnabled: true,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Start(ctx); err != nil {
		return err
	}
	if err := connect(ctx, c, protocol, callback); err != nil {
		return err
	}
	if got := c.ProtocolVersion(); got != protocol {
		return fmt.Errorf("the session has protocol %s, want %s", got, protocol)
	}

	listed, err := c.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		return fmt.Errorf("tools/list: %w", err)
	}
	if !slices.ContainsFunc(listed.Tools, func(tool mcp.Tool) bool { return tool.Name == "greet" }) {
		return fmt.Errorf("tools/list does not have greet: %+v", listed.Tools)
	}
	greeting, err := call(ctx, c, "greet", map[string]any{"name": "Ada"})
	if err != nil || greeting["greeting"] != "Hello, Ada!" {
		return fmt.Errorf("greet returned %v, %v", greeting, err)
	}
	me, err := call(ctx, c, "whoami", nil)
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%v %v", me["subject"], me["scopes"]); got != account()+" [mcp:use greet:read]" {
		return fmt.Errorf("whoami returned %s", got)
	}
	// It does not sign in for more scopes.
	_, err = call(ctx, c, "server_stats", nil)
	if err == nil || !strings.Contains(err.Error(), "insufficient_scope") {
		return fmt.Errorf("server_stats, which needs one more scope: %v", err)
	}
	return nil
}

// connect starts the session, and signs in when the server requires it.
func connect(ctx context.Context, c *client.Client, protocol string, callback net.Listener) error {
	var request mcp.InitializeRequest
	request.Params.ProtocolVersion = protocol
	request.Params.ClientInfo = mcp.Implementation{Name: "mcpgo", Version: "1"}
	_, err := c.Initialize(ctx, request)
	if err == nil {
		return errors.New("the server requires no token")
	}
	if !client.IsOAuthAuthorizationRequiredError(err) {
		return fmt.Errorf("initialize: %w", err)
	}
	if err := signIn(ctx, err, callback); err != nil {
		return fmt.Errorf("sign-in: %w", err)
	}
	_, err = c.Initialize(ctx, request)
	return err
}

func signIn(ctx context.Context, challenge error, callback net.Listener) error {
	handler := client.GetOAuthHandler(challenge)
	verifier, err := client.GenerateCodeVerifier()
	if err != nil {
		return err
	}
	state, err := client.GenerateState()
	if err != nil {
		return err
	}
	if err := handler.RegisterClient(ctx, "mcp-go"); err != nil {
		return err
	}
	address, err := handler.GetAuthorizationURL(ctx, state, client.GenerateCodeChallenge(verifier))
	if err != nil {
		return err
	}
	request, err := url.Parse(address)
	if err != nil {
		return err
	}
	if scope := request.Query().Get("scope"); scope != "" {
		return fmt.Errorf("the client requests the scopes %q, want none", scope)
	}
	answer, err := browse(ctx, address, callback)
	if err != nil {
		return err
	}
	return handler.ProcessAuthorizationResponse(ctx, answer.Get("code"), answer.Get("state"), verifier)
}

// account is who signs in: $ACCOUNT, which $BROWSER enters where a page asks for it, or the one that the demo approves.
func account() string { return cmp.Or(os.Getenv("ACCOUNT"), "alice") }

// browse opens address in $BROWSER and returns the parameters of the redirect to callback.
func browse(ctx context.Context, address string, callback net.Listener) (url.Values, error) {
	received := make(chan url.Values, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == callbackPath {
			received <- r.URL.Query()
		}
	})}
	defer server.Close()
	go func() { _ = server.Serve(callback) }() // it ends with Close
	if out, err := exec.CommandContext(ctx, os.Getenv("BROWSER"), address).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the browser: %w: %s", err, out)
	}
	select {
	case answer := <-received:
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// call returns the structured content of the result.
func call(
	ctx context.Context, c *client.Client, tool string, arguments map[string]any,
) (map[string]any, error) {
	var request mcp.CallToolRequest
	request.Params.Name, request.Params.Arguments = tool, arguments
	result, err := c.CallTool(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tool, err)
	}
	content, ok := result.StructuredContent.(map[string]any)
	if !ok || result.IsError {
		return nil, fmt.Errorf("%s returned %+v", tool, result)
	}
	return content, nil
}
