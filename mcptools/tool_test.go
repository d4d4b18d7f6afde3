package mcptools

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
	"gatehouse/providers/providertest/golden"
)

// What clients see of the tools is an interface: it changes on purpose, in a commit that shows how.
func TestToolsLookToClientsAsTheyDid(t *testing.T) {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	for _, tool := range All(Vitals{}) {
		tool.register(server)
	}
	near, far := mcp.NewInMemoryTransports()
	ctx := context.Background()
	if _, err := server.Connect(ctx, far, nil); err != nil {
		t.Fatal(err)
	}
	client, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, near, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	list, err := client.ListTools(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(list.Tools, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden.File(t, "testdata/tools.json", got)
}

func TestEveryToolIsWellDefined(t *testing.T) {
	names := map[string]bool{}
	for _, tool := range All(Vitals{}) {
		if tool.Name == "" || names[tool.Name] {
			t.Errorf("the name %q is empty or taken", tool.Name)
		}
		names[tool.Name] = true
		if tool.Description == "" {
			t.Errorf("%s has no description", tool.Name)
		}
		for _, scope := range tool.Scopes {
			if bytes.ContainsAny([]byte(scope), " \"\\") || scope == "" {
				t.Errorf("%s needs %q, which is not a scope", tool.Name, scope)
			}
		}
	}
}

func TestACatalogNamesEachScopeOnce(t *testing.T) {
	got := Catalog{
		Tools:             []Tool{{Scopes: []string{"greet:read"}}, {Scopes: []string{"greet:write", "greet:read"}}, {}},
		Prompts:           []Prompt{{Scopes: []string{"plan:read", "greet:read"}}},
		Resources:         []Resource{{Scopes: []string{"doc:read"}}},
		ResourceTemplates: []ResourceTemplate{{Scopes: []string{"doc:read", "secret:read"}}},
	}.Scopes()
	if want := []string{"greet:read", "greet:write", "plan:read", "doc:read", "secret:read"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSettingsAcceptOnlyTheTwoEras(t *testing.T) {
	for era, good := range map[string]bool{EraDual: true, EraStateless: true, "": false, "Dual": false, "legacy": false} {
		problems := 0
		settings := DefaultSettings()
		settings.Era = era
		settings.Validate(func(providers.Problem) { problems++ })
		if (problems == 0) != good {
			t.Errorf("mcp.era %q: %d problems", era, problems)
		}
	}
}

// JSON has null for a list that is not there, which clients do not take for an empty one.
func TestAServerWithoutToolsListsNone(t *testing.T) {
	for _, showAll := range []bool{false, true} {
		for era, ask := range map[string]posted{EraDual: modernly("tools/list", ""), EraStateless: legacily("tools/list", "")} {
			url := serve(t, handlerOf(Catalog{}, func(o *Options) { o.Tools.ShowAll, o.Settings.Era = showAll, era }), time.Now().Add(time.Hour))
			resp, err := bearerClient().Do(ask.to(url))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"tools":[]`) {
				t.Errorf("%s, show_all %t: %d %s, %v", era, showAll, resp.StatusCode, body, err)
			}
			list, err := connect(t, url, "2025-11-25").ListTools(t.Context(), nil)
			if err != nil || list.Tools == nil || len(list.Tools) > 0 {
				t.Errorf("%s, 2025-11-25, show_all %t: %v, %v", era, showAll, list, err)
			}
		}
	}
}
