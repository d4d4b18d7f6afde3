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

// options are the command line.
type options struct {
	url       string
	connectTo []string
	ca        string
	person    string
	tool      string
}

// run signs in, calls the tool, and reports to w.
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
	result, err := call(ctx, session, o.tool, nil)
	if err != nil {
		return err
	}
	shown, err := json.Marshal(result)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %s\n", o.tool, shown)
	return nil
}

// client is the MCP client of the official SDK, with a person who signs in at the demo issuer. It is
// configured with a URL only.
type client struct {
	url     string
	network http.RoundTripper
	person  string
	// progress receives the messages of progress notifications. It may be nil.
	progress func(message string)

	oauth *auth.AuthorizationCodeHandler
}

// connect signs in and opens a session. protocol is a version of MCP; empty means the newest that both sides
// support.
func (c *client) connect(ctx context.Context, protocol string) (*mcp.ClientSession, error) {
	web := &http.Client{Transport: c.network}
	var err error
	registration := &oauthex.ClientRegistrationMetadata{
		RedirectURIs: []string{redirectURI}, ClientName: "Smoke test", TokenEndpointAuthMethod: "none",
		GrantTypes: []string{"authorization_code", "refresh_token"},
	}
	c.oauth, err = auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		RedirectURL: redirectURI, RequestRefreshToken: true, Client: web,
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: registration},
		AuthorizationCodeFetcher: func(ctx context.Context,
			args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			response, err := signIn(ctx, c.network, args.URL, c.person)
			if err != nil {
				return nil, err
			}
			return &auth.AuthorizationResult{
				Code: response.Get("code"), State: response.Get("state"), Iss: response.Get("iss"),
			}, nil
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

// call calls a tool and returns its structured content.
func call(ctx context.Context, session *mcp.ClientSession, tool string,
	arguments map[string]any) (map[string]any, error) {
	params := &mcp.CallToolParams{Name: tool, Arguments: arguments}
	params.SetProgressToken(tool)
	result, err := session.CallTool(ctx, params)
	if err != nil {
		return nil, err
	}
	content, ok := result.StructuredContent.(map[string]any)
	if !ok || result.IsError {
		return nil, fmt.Errorf("%s failed", tool)
	}
	return content, nil
}
