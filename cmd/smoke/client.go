package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// options say what to try.
type options struct {
	url       string
	connectTo []string
	ca        string
	person    string
	tool      string
}

// run signs in, calls the tool, and tells w about it.
func (o options) run(ctx context.Context, w io.Writer) error {
	network, err := newNetwork(o.connectTo, o.ca)
	if err != nil {
		return err
	}
	defer network.CloseIdleConnections()
	c := &client{url: o.url, network: &transcript{next: network, w: w}, person: o.person}
	session, err := c.connect(ctx, "")
	if err != nil {
		return err
	}
	defer session.Close()
	fmt.Fprintf(w, "signed in as %s\n", o.person)
	listed, err := session.ListTools(ctx, nil)
	if err != nil {
		return err
	}
	names := make([]string, len(listed.Tools))
	for i, tool := range listed.Tools {
		names[i] = tool.Name
	}
	fmt.Fprintf(w, "tools: %s\n", strings.Join(names, " "))
	answer, err := call(ctx, session, o.tool, nil)
	if err != nil {
		return err
	}
	shown, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %s\n", o.tool, shown)
	return nil
}

// client is an MCP client of the official SDK that knows nothing but a URL, and a person at the demo issuer.
type client struct {
	url     string
	network http.RoundTripper
	person  string
	// progress gets what a tool says while it works. It may be nil.
	progress func(message string)

	oauth *auth.AuthorizationCodeHandler
}

// connect signs in and opens a session. protocol is a version of MCP, the newest of both sides if empty.
func (c *client) connect(ctx context.Context, protocol string) (*mcp.ClientSession, error) {
	web := &http.Client{Transport: c.network}
	var err error
	c.oauth, err = auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		RedirectURL: redirectURI, RequestRefreshToken: true, Client: web,
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			RedirectURIs: []string{redirectURI}, ClientName: "Smoke test", TokenEndpointAuthMethod: "none",
			GrantTypes: []string{"authorization_code", "refresh_token"},
		}},
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			answer, err := signIn(ctx, c.network, args.URL, c.person)
			if err != nil {
				return nil, err
			}
			return &auth.AuthorizationResult{Code: answer.Get("code"), State: answer.Get("state"), Iss: answer.Get("iss")}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return mcp.NewClient(&mcp.Implementation{Name: "smoke", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			if c.progress != nil {
				c.progress(r.Params.Message)
			}
		},
	}).Connect(ctx, &mcp.StreamableClientTransport{Endpoint: c.url, OAuthHandler: c.oauth, HTTPClient: web},
		&mcp.ClientSessionOptions{ProtocolVersion: protocol})
}

// call returns the structured answer of a tool.
func call(ctx context.Context, session *mcp.ClientSession, tool string, arguments map[string]any) (map[string]any, error) {
	params := &mcp.CallToolParams{Name: tool, Arguments: arguments}
	params.SetProgressToken(tool)
	result, err := session.CallTool(ctx, params)
	if err != nil {
		return nil, err
	}
	answer, ok := result.StructuredContent.(map[string]any)
	if !ok || result.IsError {
		return nil, fmt.Errorf("%s failed", tool)
	}
	return answer, nil
}
