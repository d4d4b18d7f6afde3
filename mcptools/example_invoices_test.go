package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// The model reads errors: one of the HTTP client would show it the internal address.
var errBilling = errors.New("the billing service is not available")

func invoices(client *http.Client, service, apiKey string) Tool {
	type output struct {
		Invoices []string `json:"invoices"`
	}
	return Define(Definition{
		Name: "invoices", Description: "Lists the caller's open invoices.", Scopes: []string{"billing:read"}, ReadOnly: true,
	}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, output, error) {
		target := service + "?customer=" + url.QueryEscape(Caller(req).Subject)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, output{}, errBilling
		}
		r.Header.Set("Authorization", "Bearer "+apiKey)
		resp, err := client.Do(r)
		if err != nil {
			return nil, output{}, errBilling
		}
		defer resp.Body.Close()
		var out output
		err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&out)
		if err != nil || resp.StatusCode != http.StatusOK {
			return nil, output{}, errBilling
		}
		return nil, out, nil
	})
}
