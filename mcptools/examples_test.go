package mcptools

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
)

// callAs calls a tool over an in-memory connection for subject, and returns the result as JSON.
func callAs(t *testing.T, subject string, tool Tool, arguments any) (text string, isError bool) {
	t.Helper()
	info := TokenInfo(&providers.Identity{Issuer: "https://issuer.example", Subject: subject})
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			if call, ok := req.(*mcp.CallToolRequest); ok {
				call.Extra = &mcp.RequestExtra{TokenInfo: info}
			}
			return next(ctx, method, req)
		}
	})
	tool.register(server)
	near, far := mcp.NewInMemoryTransports()
	if _, err := server.Connect(t.Context(), far, nil); err != nil {
		t.Fatal(err)
	}
	client, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), near, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	result, err := client.CallTool(t.Context(), &mcp.CallToolParams{Name: tool.Name, Arguments: arguments})
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	return string(content), result.IsError
}

// The README shows the files example_add_test.go and example_invoices_test.go.
func TestREADME_TheAddToolWorks(t *testing.T) {
	text, isError := callAs(t, "alice", add(), map[string]any{"A": 2, "B": 3})
	if isError || !strings.Contains(text, `"Sum":5`) {
		t.Errorf("the result is %s", text)
	}
}

func TestREADME_TheInvoicesToolWorks(t *testing.T) {
	release := make(chan struct{})
	billing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch customer := r.URL.Query().Get("customer"); {
		case r.Header.Get("Authorization") != "Bearer key-1":
			w.WriteHeader(http.StatusUnauthorized)
		case customer == "slow":
			<-release
		default:
			_, _ = w.Write([]byte(`{"invoices":["` + customer + `-17"]}`))
		}
	}))
	defer billing.Close()
	defer close(release)
	for name, c := range map[string]struct {
		subject, service, key string
		timeout               time.Duration
		want                  string
	}{
		"a call":             {"alice", billing.URL, "key-1", time.Minute, `{"invoices":["alice-17"]}`},
		"a wrong API key":    {"alice", billing.URL, "key-2", time.Minute, "is not available"},
		"a timeout":          {"slow", billing.URL, "key-1", 20 * time.Millisecond, "is not available"},
		"an invalid address": {"alice", "http://bad host", "key-1", time.Minute, "is not available"},
	} {
		t.Run(name, func(t *testing.T) {
			text, isError := callAs(t, c.subject, invoices(&http.Client{Timeout: c.timeout}, c.service, c.key), nil)
			if isError == strings.Contains(c.want, "alice") || !strings.Contains(text, c.want) {
				t.Errorf("the result is %s, want %s", text, c.want)
			}
			if strings.Contains(text, c.key) || strings.Contains(text, c.service) {
				t.Errorf("the result shows the key or the address: %s", text)
			}
		})
	}
}
