package mcphttp

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
)

// callOf returns a tools/call as the SDK passes it to middleware.
func callOf(name string, id *providers.Identity) *mcp.CallToolRequest {
	req := &mcp.CallToolRequest{Params: &mcp.CallToolParamsRaw{Name: name}, Extra: &mcp.RequestExtra{}}
	if id != nil {
		req.Extra.TokenInfo = mcptools.TokenInfo(id)
	}
	return req
}

// under returns req as it is dispatched under p.
func under(p Policy, req mcp.Request) mcp.Request {
	if extra := req.GetExtra(); extra != nil && extra.TokenInfo != nil {
		if extra.TokenInfo.Extra == nil {
			extra.TokenInfo.Extra = map[string]any{}
		}
		extra.TokenInfo.Extra[callContextMember] = &callContext{policy: &p}
	}
	return req
}

func prompt(name string, scopes ...string) mcp.Request {
	return &mcp.GetPromptRequest{
		Params: &mcp.GetPromptParams{Name: name},
		Extra:  &mcp.RequestExtra{TokenInfo: mcptools.TokenInfo(alice(scopes...))},
	}
}

func complete(prompt, uri string, scopes ...string) mcp.Request {
	return &mcp.CompleteRequest{
		Params: &mcp.CompleteParams{Ref: &mcp.CompleteReference{Name: prompt, URI: uri}},
		Extra:  &mcp.RequestExtra{TokenInfo: mcptools.TokenInfo(alice(scopes...))},
	}
}

func listen(uri string, scopes ...string) mcp.Request {
	return &mcp.SubscriptionsListenRequest{
		Params: &mcp.SubscriptionsListenParams{
			Notifications: &mcp.NotificationSubscriptions{ResourceSubscriptions: []string{uri}},
		},
		Extra: &mcp.RequestExtra{TokenInfo: mcptools.TokenInfo(alice(scopes...))},
	}
}

func read(uri string, scopes ...string) mcp.Request {
	return &mcp.ReadResourceRequest{
		Params: &mcp.ReadResourceParams{URI: uri},
		Extra:  &mcp.RequestExtra{TokenInfo: mcptools.TokenInfo(alice(scopes...))},
	}
}

// RS-23: the decisive check is on what is dispatched, whatever the HTTP layer read.
func TestMiddleware_ChecksScopesOnWhatIsDispatched(t *testing.T) {
	policy := Policy{Settings: DefaultSettings(), RequiredScopes: []string{"mcp:use"}}
	m := middleware{
		scopes: newScopeTable(mcptools.Catalog{
			Tools: []mcptools.Tool{{Name: "server_stats", Scopes: []string{"gatehouse:admin"}}, {Name: "whoami"}},
			Prompts: []mcptools.Prompt{
				{Prompt: &mcp.Prompt{Name: "plan"}, Scopes: []string{"plan:read"}},
			},
			Resources: []mcptools.Resource{
				{Resource: &mcp.Resource{URI: "doc://a"}, Scopes: []string{"doc:read"}},
			},
			ResourceTemplates: []mcptools.ResourceTemplate{
				{
					Template: &mcp.ResourceTemplate{URITemplate: "secret://{id}"},
					Scopes:   []string{"secret:read"},
				},
			},
		}),
		logger: slog.New(
			slog.DiscardHandler,
		), calls: newQuota(9, 9), stopped: context.Background(),
	}
	for name, c := range map[string]struct {
		req     mcp.Request
		method  string
		allowed bool
	}{
		"a call with all its scopes": {
			callOf("server_stats", alice("mcp:use", "gatehouse:admin")), "tools/call", true,
		},
		"a call without the tool's scope":  {callOf("server_stats", alice("mcp:use")), "tools/call", false},
		"a call without the base scope":    {callOf("server_stats", alice("gatehouse:admin")), "tools/call", false},
		"a tool without scopes of its own": {callOf("whoami", alice("mcp:use")), "tools/call", true},
		"a scope in another case": {
			callOf("server_stats", alice("mcp:use", "Gatehouse:Admin")), "tools/call", false,
		},
		"a scope that only begins alike": {
			callOf("server_stats", alice("mcp:use", "gatehouse:administrator")), "tools/call", false,
		},
		"scopes joined by a comma": {
			callOf("server_stats", alice("mcp:use,gatehouse:admin")),
			"tools/call", false,
		},
		"no identity":                         {callOf("whoami", nil), "tools/call", false},
		"a prompt with its scope":             {prompt("plan", "mcp:use", "plan:read"), "prompts/get", true},
		"a prompt without its scope":          {prompt("plan", "mcp:use"), "prompts/get", false},
		"a resource with its scope":           {read("doc://a", "mcp:use", "doc:read"), "resources/read", true},
		"a resource without its scope":        {read("doc://a", "mcp:use"), "resources/read", false},
		"one of a template with its scope":    {read("secret://1", "mcp:use", "secret:read"), "resources/read", true},
		"one of a template without its scope": {read("secret://1", "mcp:use"), "resources/read", false},
		"a subscription with its scope":       {listen("doc://a", "mcp:use", "doc:read"), "subscriptions/listen", true},
		"a subscription without its scope":    {listen("doc://a", "mcp:use"), "subscriptions/listen", false},
		"a completion with its scope":         {complete("plan", "", "mcp:use", "plan:read"), "completion/complete", true},
		"a completion without its scope":      {complete("plan", "", "mcp:use"), "completion/complete", false},
		"a completion of a template, without": {complete("", "secret://{id}", "mcp:use"), "completion/complete", false},
		"a completion of a resource, without": {complete("", "doc://a", "mcp:use"), "completion/complete", false},
		"a list with the base scope": {
			&mcp.ListToolsRequest{Extra: &mcp.RequestExtra{TokenInfo: mcptools.TokenInfo(alice("mcp:use"))}},
			"tools/list", true,
		},
		"a list without the base scope": {
			&mcp.ListToolsRequest{Extra: &mcp.RequestExtra{TokenInfo: mcptools.TokenInfo(alice())}},
			"tools/list", false,
		},
		"token information that is not from us": {
			&mcp.ListToolsRequest{Extra: &mcp.RequestExtra{TokenInfo: &auth.TokenInfo{Scopes: []string{"mcp:use"}}}},
			"tools/list", false,
		},
		"a request without anything": {&mcp.ListToolsRequest{}, "tools/list", false},
	} {
		t.Run(name, func(t *testing.T) {
			reached := false
			handler := m.wrap(func(context.Context, string, mcp.Request) (mcp.Result, error) {
				reached = true
				return &mcp.CallToolResult{}, nil
			})
			_, err := handler(context.Background(), c.method, under(policy, c.req))
			if reached != c.allowed || (err == nil) != c.allowed {
				t.Errorf("reached %v with error %v, want allowed %v", reached, err, c.allowed)
			}
		})
	}
}

func TestMiddleware_APanicIsAnErrorAndItsStackIsLogged(t *testing.T) {
	var log bytes.Buffer
	m := middleware{logger: slog.New(slog.NewTextHandler(&log, nil))}
	handler := m.wrap(
		func(context.Context, string, mcp.Request) (mcp.Result, error) { panic("the secret is 42") },
	)
	_, err := handler(context.Background(), "tools/list", under(Policy{}, callOf("whoami", alice())))
	if err == nil || strings.Contains(err.Error(), "42") {
		t.Errorf("the caller gets %v", err)
	}
	if !strings.Contains(log.String(), "middleware_test.go") {
		t.Errorf("the log has no stack: %s", log.String())
	}
}

// A request that was judged by no policy is not dispatched.
func TestMiddleware_NeedsThePolicyOfTheRequest(t *testing.T) {
	m := middleware{logger: slog.New(slog.DiscardHandler)}
	list := m.wrap(func(context.Context, string, mcp.Request) (mcp.Result, error) {
		t.Error("it is dispatched")
		return &mcp.ListToolsResult{}, nil
	})
	if _, err := list(context.Background(), methodListTools, callOf("", alice("mcp:use"))); err == nil {
		t.Error("there is no error")
	}
}

// A list of any kind has only what the caller may use.
func TestMiddleware_FiltersListsOfEveryKind(t *testing.T) {
	table := newScopeTable(mcptools.Catalog{
		Tools: []mcptools.Tool{{Name: "open"}, {Name: "closed", Scopes: []string{"more"}}},
		Prompts: []mcptools.Prompt{
			{Prompt: &mcp.Prompt{Name: "open"}}, {Prompt: &mcp.Prompt{Name: "closed"}, Scopes: []string{"more"}},
		},
		Resources: []mcptools.Resource{
			{Resource: &mcp.Resource{URI: "doc://open"}},
			{Resource: &mcp.Resource{URI: "doc://closed"}, Scopes: []string{"more"}},
		},
		ResourceTemplates: []mcptools.ResourceTemplate{
			{Template: &mcp.ResourceTemplate{URITemplate: "a://{x}"}},
			{Template: &mcp.ResourceTemplate{URITemplate: "b://{x}"}, Scopes: []string{"more"}},
		},
	})
	for name, c := range map[string]struct {
		all     func() mcp.Result
		counted func(mcp.Result) int
	}{
		"tools": {func() mcp.Result { return &mcp.ListToolsResult{Tools: []*mcp.Tool{{Name: "open"}, {Name: "closed"}}} },
			func(r mcp.Result) int { return len(r.(*mcp.ListToolsResult).Tools) }},
		"prompts": {func() mcp.Result {
			return &mcp.ListPromptsResult{Prompts: []*mcp.Prompt{{Name: "open"}, {Name: "closed"}}}
		}, func(r mcp.Result) int { return len(r.(*mcp.ListPromptsResult).Prompts) }},
		"resources": {func() mcp.Result {
			return &mcp.ListResourcesResult{Resources: []*mcp.Resource{{URI: "doc://open"}, {URI: "doc://closed"}}}
		}, func(r mcp.Result) int { return len(r.(*mcp.ListResourcesResult).Resources) }},
		"templates": {func() mcp.Result {
			templates := []*mcp.ResourceTemplate{{URITemplate: "a://{x}"}, {URITemplate: "b://{x}"}}
			return &mcp.ListResourceTemplatesResult{ResourceTemplates: templates}
		}, func(r mcp.Result) int { return len(r.(*mcp.ListResourceTemplatesResult).ResourceTemplates) }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, one := range []struct {
				scopes  []string
				showAll bool
				want    int
			}{{nil, false, 1}, {[]string{"more"}, false, 2}, {nil, true, 2}} {
				m, policy := middleware{scopes: table}, Policy{Tools: mcptools.ToolSettings{ShowAll: one.showAll}}
				list := m.wrap(
					func(context.Context, string, mcp.Request) (mcp.Result, error) { return c.all(), nil },
				)
				result, err := list(context.Background(), name, under(policy, callOf("", alice(one.scopes...))))
				if err != nil || c.counted(result) != one.want {
					t.Errorf(
						"scopes %v, all shown %v: %d entries, %v; want %d", one.scopes, one.showAll, c.counted(result), err,
						one.want,
					)
				}
			}
		})
	}
}

// The SDK retains a subscription forever.
func TestMiddleware_OnlyResourcesOfTheCatalogCanBeSubscribedTo(t *testing.T) {
	subscribed := 0
	none := func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) { return nil, nil }
	c := mcptools.Catalog{
		Resources: []mcptools.Resource{
			{Resource: &mcp.Resource{URI: "doc://a", Name: "a"}, Handler: none},
		},
		ResourceTemplates: []mcptools.ResourceTemplate{
			{Template: &mcp.ResourceTemplate{URITemplate: "page://{n}", Name: "n"}, Handler: none},
		},
		Options: func(o *mcp.ServerOptions) {
			o.Capabilities.Resources.Subscribe = true
			o.SubscribeHandler = func(context.Context, *mcp.SubscribeRequest) error { subscribed++; return nil }
			o.UnsubscribeHandler = func(context.Context, *mcp.UnsubscribeRequest) error { return nil }
		},
	}
	s := connect(t, serve(t, handlerOf(c), time.Now().Add(time.Hour)), "2025-11-25")
	for uri, offered := range map[string]bool{"doc://a": true, "page://7": true, "doc://b": false, "": false} {
		if err := s.Subscribe(context.Background(), &mcp.SubscribeParams{URI: uri}); (err == nil) != offered {
			t.Errorf("%q: %v", uri, err)
		}
	}
	if subscribed != 2 {
		t.Errorf("%d subscriptions came through, want 2", subscribed)
	}
}

// invalidOutput has the schema of an object, and is encoded as a string.
type invalidOutput struct{}

func (invalidOutput) MarshalJSON() ([]byte, error) { return []byte(`"the secret is 42"`), nil }

func TestMiddleware_HidesAResultThatViolatesItsSchema(t *testing.T) {
	odd := mcptools.Define(
		mcptools.Definition{Name: "odd", Description: "x"},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, invalidOutput, error) {
			return nil, invalidOutput{}, nil
		},
	)
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		var log bytes.Buffer
		h := handlerOf(
			mcptools.Catalog{Tools: []mcptools.Tool{odd}},
			func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) },
		)
		s := connect(t, serve(t, h, time.Now().Add(time.Hour)), protocol)
		_, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "odd"})
		if err == nil || !strings.Contains(err.Error(), "internal error") ||
			strings.Contains(err.Error(), "42") {
			t.Errorf("%s: the caller gets %v", protocol, err)
		}
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "name=odd") {
			t.Errorf("%s: the log says %q", protocol, &log)
		}
	}
}
