package demo

import (
	"context"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

type whoamiOutput struct {
	Issuer    string    `json:"issuer" jsonschema:"the issuer of the access token"`
	Subject   string    `json:"subject" jsonschema:"the caller's identifier at that issuer"`
	Client    string    `json:"client,omitempty" jsonschema:"the OAuth client that the token was issued to"`
	Audience  []string  `json:"audience" jsonschema:"the resources that the token was issued for"`
	Scopes    []string  `json:"scopes" jsonschema:"what the token allows"`
	ExpiresAt time.Time `json:"expires_at" jsonschema:"when the token expires"`
}

func whoami() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name:  "whoami",
		Title: "Who am I?",
		Description: "Shows the caller as the server identifies it: issuer, subject, client, audience, " +
			"scopes and expiry of the access token.",
		ReadOnly: true,
	}, func(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, whoamiOutput, error) {
		id := mcptools.Caller(req)
		return nil, whoamiOutput{
			Issuer: id.Issuer, Subject: id.Subject, Client: id.Client,
			Audience: nonNil(id.Audience), Scopes: nonNil(id.Scopes), ExpiresAt: id.Expiry.UTC(),
		}, nil
	})
}

// nonNil returns an empty list for nil, which would be encoded as null and violate the output schema.
func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
