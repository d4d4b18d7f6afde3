package mcphttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// reportTool is a tool that sends two progress notifications.
func reportTool() mcptools.Tool {
	return newTool(
		"report",
		func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			for step := range 2 {
				if err := req.Session.NotifyProgress(
					ctx, &mcp.ProgressNotificationParams{ProgressToken: "p", Progress: float64(step)},
				); err != nil {
					return nil, err
				}
			}
			return text("done"), nil
		},
	)
}

// outsideTool is a tool that tries what needs a session: a request to the client, and a notification outside of the
// call.
func outsideTool() mcptools.Tool {
	return newTool(
		"muddle",
		func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			asked := req.Session.Ping(ctx, nil)
			told := req.Session.NotifyProgress(
				context.WithoutCancel(context.Background()), &mcp.ProgressNotificationParams{ProgressToken: "p"},
			)
			return text(fmt.Sprintf("asked: %v, told: %v", asked != nil, told != nil)), nil
		},
	)
}

// headerTool is a tool with a parameter that must be repeated in a header.
func headerTool() mcptools.Tool {
	return mcptools.Define(
		mcptools.Definition{Name: "headed", Description: "x", Input: func(s *jsonschema.Schema) {
			s.Properties["name"].Extra = map[string]any{"x-mcp-header": "Name"}
		}},
		func(_ context.Context, _ *mcp.CallToolRequest, in greetInput) (*mcp.CallToolResult, greetOutput, error) {
			return nil, greetOutput{Greeting: in.Name}, nil
		},
	)
}

func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

func fullCatalog() mcptools.Catalog {
	failing := newTool("fail", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, errors.New("no luck")
	})
	return mcptools.Catalog{
		Tools: []mcptools.Tool{greet(), reportTool(), outsideTool(), headerTool(), failing},
		Prompts: []mcptools.Prompt{
			{
				Prompt: &mcp.Prompt{Name: "plan"},
				Handler: func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
					return &mcp.GetPromptResult{Description: "a plan"}, nil
				},
			},
		},
		Resources: []mcptools.Resource{
			{
				Resource: &mcp.Resource{URI: "doc://a", Name: "a"},
				Handler: func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
					return &mcp.ReadResourceResult{
						Contents: []*mcp.ResourceContents{{URI: "doc://a", Text: "content"}},
					}, nil
				},
			},
		},
	}
}

// testPost is a POST as package server passes it on.
type testPost struct {
	body   string
	header map[string]string
}

func (p testPost) with(pairs ...string) testPost {
	header := map[string]string{}
	for k, v := range p.header {
		header[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		header[pairs[i]] = pairs[i+1]
	}
	return testPost{p.body, header}
}

func (p testPost) replaced(old, new string) testPost {
	return testPost{strings.Replace(p.body, old, new, 1), p.header}
}

// to returns the request to a real server.
func (p testPost) to(url string) *http.Request { return p.by(http.MethodPost, url) }

func (p testPost) by(method, url string) *http.Request {
	r := p.request()
	sent, err := http.NewRequest(method, url, strings.NewReader(p.body))
	if err != nil {
		panic(err)
	}
	sent.Header = r.Header
	return sent
}

func (p testPost) request() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://localhost/mcp", strings.NewReader(p.body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Authorization", "Bearer x")
	for k, v := range p.header {
		if r.Header.Set(k, v); v == "" {
			r.Header.Del(k)
		}
	}
	return r
}

const plainMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
	`"io.modelcontextprotocol/clientCapabilities":{}}`

func modern(method, params string) testPost {
	if params != "" {
		params += ","
	}
	p := testPost{
		fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{%s%s}}`, method, params, plainMeta),
		map[string]string{versionHeader: modernVersion, methodHeader: method},
	}
	return p
}

func modernCall(tool, arguments string) testPost {
	return modern("tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, tool, arguments)).with(nameHeader, tool)
}

func legacy(method, params string) testPost {
	return testPost{
		fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{%s}}`, method, params),
		map[string]string{versionHeader: "2025-11-25"},
	}
}

// responseTo serves a request of alice, and returns the status, the content type and the messages of the response.
func responseTo(
	t *testing.T,
	p testPost,
	serve func(http.ResponseWriter, *http.Request),
) (status int, kind string, messages []any) {
	t.Helper()
	w := httptest.NewRecorder()
	authenticated(alice("greet:read"), http.HandlerFunc(serve)).ServeHTTP(w, p.request())
	read := func(text string) {
		var message any
		if err := json.Unmarshal([]byte(text), &message); err != nil {
			t.Fatalf("%q is no message: %v", text, err)
		}
		messages = append(messages, message)
	}
	kind = w.Header().Get("Content-Type")
	switch kind {
	case "text/event-stream":
		for line := range strings.Lines(w.Body.String()) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				read(data)
			}
		}
	case "application/json":
		read(w.Body.String())
	}
	return w.Code, kind, messages
}

// comparedRequest is a request of either era, and its expected response without a session.
type comparedRequest struct {
	testPost
	status int
	want   string // part of the response
	stream bool
}

func comparedRequests() map[string]comparedRequest {
	greetAda := modernCall("greet", `{"name":"Ada"}`)
	legacyAda := legacy("tools/call", `"name":"greet","arguments":{"name":"Ada"}`)
	return map[string]comparedRequest{
		"a call":                       {greetAda, 200, "Hello, Ada!", false},
		"a call with a text for an id": {greetAda.replaced(`"id":7`, `"id":"a-1"`), 200, `"a-1"`, false},
		"a call with an escaped id":    {greetAda.replaced(`"id":7`, `"id":"\u0061\"1"`), 200, `"a\"1"`, false},
		"a call with the largest id": {
			greetAda.replaced(`"id":7`, `"id":9007199254740991`), 200, "9007199254740991", false,
		},
		"a call with the id 0":        {greetAda.replaced(`"id":7`, `"id":0`), 200, "Hello", false},
		"text that HTML would escape": {modernCall("greet", `{"name":"<b>&</b>\u2028é"}`), 200, "<b>&</b>", false},
		"a call without arguments": {
			modern("tools/call", `"name":"report"`).with(nameHeader, "report"), 200, "done", true,
		},
		"wrong arguments":              {modernCall("greet", `{"name":7}`), 200, "isError", false},
		"a tool that fails":            {modernCall("fail", `{}`), 200, "no luck", false},
		"an unknown tool":              {modernCall("nosuch", `{}`), 400, "-32602", false},
		"a tool that reports":          {modernCall("report", `{}`), 200, "notifications/progress", true},
		"a tool that asks and mutters": {modernCall("muddle", `{}`), 200, "asked: true, told: true", false},
		"other spellings of Accept": {
			greetAda.with("Accept", "text/event-stream,application/json;q=0.9"), 200, "Hello", false,
		},
		"capabilities that are missing": {
			greetAda.replaced(`,"io.modelcontextprotocol/clientCapabilities":{}`, ""), 400, "-32602", false,
		},
		"capabilities of the wrong kind": {
			greetAda.replaced(
				`"io.modelcontextprotocol/clientCapabilities":{}`, `"io.modelcontextprotocol/clientCapabilities":7`,
			),
			400,
			"-32602",
			false,
		},
		"a name twice in the arguments": {modernCall("greet", `{"name":"Ada","name":"Bob"}`), 200, "Hello", false},
		"deep nesting": {
			modernCall("greet", `{"name":"[[[\\\"{{{","x":`+nested(61)+`}`),
			200, "isError", false,
		},
		"a list of tools":     {modern("tools/list", ""), 200, `"greet"`, false},
		"a list of prompts":   {modern("prompts/list", ""), 200, `"plan"`, false},
		"a list of resources": {modern("resources/list", ""), 200, `"doc://a"`, false},
		"a list of templates": {modern("resources/templates/list", ""), 200, `"resourceTemplates"`, false},
		"a prompt": {
			modern("prompts/get", `"name":"plan"`).with(nameHeader, "plan"),
			200, "a plan", false,
		},
		"an unknown prompt": {modern("prompts/get", `"name":"x"`).with(nameHeader, "x"), 400, "-32602", false},
		"a resource": {
			modern("resources/read", `"uri":"doc://a"`).with(nameHeader, "doc://a"), 200, "content", false,
		},
		"an unknown resource": {
			modern("resources/read", `"uri":"doc://x"`).with(nameHeader, "doc://x"), 400, "-32602", false,
		},
		"a completion": {
			modern(
				"completion/complete",
				`"ref":{"type":"ref/prompt","name":"plan"},"argument":{"name":"a","value":"b"}`,
			),
			404,
			"-32601",
			false,
		},
		"2025-11-25: a call": {legacyAda, 200, "Hello, Ada!", false},
		"2025-11-25: a call without params": {
			legacy("tools/list", "").replaced(`,"params":{}`, ""), 200, `"greet"`, false,
		},
		"2025-03-26: a call":          {legacyAda.with(versionHeader, ""), 200, "Hello, Ada!", false},
		"2025-11-25: an unknown tool": {legacy("tools/call", `"name":"nosuch"`), 200, "-32602", false},
		"2025-11-25: a tool that reports": {
			legacy("tools/call", `"name":"report"`), 200, "notifications/progress", true,
		},
		"2025-11-25: one that asks": {
			legacy("tools/call", `"name":"muddle"`), 200, "asked: true, told: true", false,
		},
		"2025-11-25: a completion": {
			legacy(
				"completion/complete",
				`"ref":{"type":"ref/prompt","name":"plan"},"argument":{"name":"a","value":"b"}`,
			),
			200,
			"-32601",
			false,
		},
	}
}

func TestStatelessConn_AnswersAsTheSDK(t *testing.T) {
	for name, c := range comparedRequests() {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(fullCatalog(), func(cfg *Config) { cfg.Settings.Era = EraStateless })
			status, kind, got := responseTo(t, c.testPost, func(w http.ResponseWriter, r *http.Request) {
				_, handler, done := h.Route(r)
				defer done()
				if _, ok := handler.(*statelessConn); !ok {
					t.Errorf("served by a %T", handler)
				}
				handler.ServeHTTP(w, r)
			})
			serverFor := func(*http.Request) *mcp.Server { return h.server }
			sdk := h.first.withCallContext(message{},
				mcp.NewStreamableHTTPHandler(serverFor, &mcp.StreamableHTTPOptions{Stateless: true}))
			sdkStatus, _, want := responseTo(t, c.testPost, sdk.ServeHTTP)
			if status != c.status || status != sdkStatus {
				t.Errorf("status %d, the SDK %d, want %d", status, sdkStatus, c.status)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("answered\n%s, the SDK\n%s", got, want)
			}
			if text, _ := json.Marshal(got); !strings.Contains(unescaped(text), c.want) {
				t.Errorf("answered %s, want %s in it", text, c.want)
			}
			if stream := kind == "text/event-stream"; stream != c.stream {
				t.Errorf("the answer is %s", kind)
			}
		})
	}
}

func unescaped(text []byte) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(text))
}

// Everything ambiguous is left to the SDK.
func TestStatelessConn_LeavesAmbiguousRequestsToTheSDK(t *testing.T) {
	ada := modernCall("greet", `{"name":"Ada"}`)
	legacyAda := legacy("tools/call", `"name":"greet","arguments":{"name":"Ada"}`)
	for name, p := range map[string]testPost{
		"no id":                              ada.replaced(`"id":7,`, ""),
		"a null id":                          ada.replaced(`"id":7`, `"id":null`),
		"an id that is true":                 ada.replaced(`"id":7`, `"id":true`),
		"an id with a fraction":              ada.replaced(`"id":7`, `"id":7.5`),
		"an id with an exponent":             ada.replaced(`"id":7`, `"id":1e3`),
		"a negative id":                      ada.replaced(`"id":7`, `"id":-7`),
		"an id that no float can hold":       ada.replaced(`"id":7`, `"id":9007199254740993`),
		"an id that is an object":            ada.replaced(`"id":7`, `"id":{}`),
		"no version of JSON-RPC":             ada.replaced(`"jsonrpc":"2.0",`, ""),
		"another version of JSON-RPC":        ada.replaced(`"2.0"`, `"1.0"`),
		"a result next to the method":        ada.replaced(`"id":7`, `"id":7,"result":{}`),
		"an error next to the method":        ada.replaced(`"id":7`, `"id":7,"error":7`),
		"no version in a header":             ada.with(versionHeader, ""),
		"another version in the header":      ada.with(versionHeader, "2025-11-25"),
		"a later version":                    ada.with(versionHeader, "2099-01-01").replaced(modernVersion, "2099-01-01"),
		"no version in _meta":                ada.replaced(`"io.modelcontextprotocol/protocolVersion":"2026-07-28",`, ""),
		"another version in _meta":           ada.replaced(`"2026-07-28"`, `"2025-11-25"`),
		"a version in _meta that is no text": ada.replaced(`"2026-07-28"`, `20260728`),
		"no method in a header":              ada.with(methodHeader, ""),
		"another method in the header":       ada.with(methodHeader, "tools/list"),
		"no name in a header":                ada.with(nameHeader, ""),
		"another name in the header":         ada.with(nameHeader, "fail"),
		"no name at all":                     ada.with(nameHeader, "").replaced(`"greet"`, `""`),
		"no Accept":                          ada.with("Accept", ""),
		"an Accept that is too narrow":       ada.with("Accept", "application/json"),
		"a parameter in a header":            modernCall("headed", `{"name":"Ada"}`).with("Mcp-Param-Name", "Ada"),
		"an unknown method":                  modern("tools/nosuch", ""),
		"a discovery":                        modern("server/discover", ""),
		"a subscription":                     modern("subscriptions/listen", `"notifications":{}`),
		"a notification":                     legacy("notifications/initialized", "").replaced(`"id":7,`, ""),
		"a handshake":                        legacy("initialize", `"protocolVersion":"2025-11-25"`),
		"a ping":                             legacy("ping", ""),
		"2026-07-28 in a call of 2025-11-25": legacyAda.replaced(`"params":{`, `"params":{`+plainMeta+`,`),
	} {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(fullCatalog(), func(cfg *Config) { cfg.Settings.Era = EraStateless })
			_, handler, done := h.Route(p.request())
			defer done()
			if _, ok := handler.(*statelessConn); ok {
				t.Error("it was served directly")
			}
		})
	}
}

// Streams cannot be resumed, so nothing may be lost when a tool closes its stream.
func TestStatelessConn_CloseSSEStreamLosesNothing(t *testing.T) {
	postponing := newTool(
		"postpone",
		func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			req.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: time.Second})
			return text("here"), nil
		},
	)
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		s := connect(
			t,
			serve(
				t,
				handlerOf(
					mcptools.Catalog{Tools: []mcptools.Tool{postponing}},
					func(cfg *Config) { cfg.Settings.Era = EraStateless },
				),
				time.Now().Add(time.Hour),
			),
			version,
		)
		if r, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "postpone"}); err != nil ||
			r.IsError {
			t.Errorf("%s: %v, %v", version, r, err)
		}
	}
}

// MCP 2025-11-25, Transports: disconnection is not cancellation.
func TestStatelessConn_ALegacyCallContinuesWhenItsClientHangsUp(t *testing.T) {
	begun, over, finished := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	patient := newTool(
		"wait",
		func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			close(begun)
			<-over
			finished <- ctx.Err()
			return nil, nil
		},
	)
	url := serve(
		t,
		handlerOf(
			mcptools.Catalog{Tools: []mcptools.Tool{patient}},
			func(cfg *Config) { cfg.Settings.Era = EraStateless },
		),
		time.Now().Add(time.Hour),
	)
	ctx, hangUp := context.WithCancel(context.Background())
	req := legacy("tools/call", `"name":"wait"`).to(url).WithContext(ctx)
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		if resp, err := bearerClient().Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}()
	<-begun
	hangUp()
	<-hungUp
	time.Sleep(50 * time.Millisecond) // until the server has noticed
	close(over)
	if err := <-finished; err != nil {
		t.Errorf("the call was ended: %v", err)
	}
}

// encodeResponse must write the same JSON as the SDK's encoder.
func TestEncodeResponse_WritesWhatTheSDKWrites(t *testing.T) {
	for _, id := range []any{"a", "\u2028<&>\"\\\n", "", float64(0), float64(1 << 53), float64(-3)} {
		made, err := jsonrpc.MakeID(id)
		if err != nil {
			t.Fatal(err)
		}
		for name, r := range map[string]*jsonrpc.Response{
			"a result": {ID: made, Result: json.RawMessage(`{"content":[{"text":"<b>\u2028\n"}]}`)},
			"an error": {ID: made, Error: &jsonrpc.Error{Code: -1, Message: "<b>"}},
			"neither":  {ID: made},
		} {
			ours, err := encodeResponse(r)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := jsonrpc.EncodeMessage(r)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if json.Unmarshal(ours, &got) != nil || json.Unmarshal(theirs, &want) != nil ||
				!reflect.DeepEqual(got, want) {
				t.Errorf("%s for %q: %s, the SDK writes %s", name, id, ours, theirs)
			}
			if len(ours) > len(theirs) {
				t.Errorf("%s for %q grew to %s", name, id, ours)
			}
			if strings.ContainsAny(string(ours), "\r\n") {
				t.Errorf("%s for %q is no line, which an event must be", name, id)
			}
		}
	}
}

func TestStatelessConn_RetainsNothingOfAnAbandonedCall(t *testing.T) {
	begun, over := make(chan struct{}), make(chan struct{})
	h := handlerOf(
		mcptools.Catalog{
			Tools: []mcptools.Tool{
				newTool("wait", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
					close(begun)
					<-over
					return text("x"), nil
				}),
			},
		},
		func(cfg *Config) { cfg.Settings.Era = EraStateless },
	)
	url := serve(t, h, time.Now().Add(time.Hour))
	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		if resp, err := bearerClient().Do(legacy("tools/call", `"name":"wait"`).to(url).WithContext(ctx)); err == nil {
			resp.Body.Close()
		}
	}()
	<-begun
	hangUp()
	time.Sleep(50 * time.Millisecond)
	close(over)
	for range 100 {
		n := 0
		for range h.server.Sessions() {
			n++
		}
		if n == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the SDK keeps a session")
}

// requestTool is a tool that returns what it sees of its request.
func requestTool() mcptools.Tool {
	return newTool(
		"inquire",
		func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			//lint:ignore SA1019 tools may use it until it is removed
			logged := req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: "hello"})
			p := req.Session.InitializeParams()
			client := "none"
			if p.ClientInfo != nil {
				client = p.ClientInfo.Name
			}
			return text(
				fmt.Sprintf(
					"header %q, version %s, client %s, capabilities %v, log %v", req.Extra.Header.Get("X-Test"),
					p.ProtocolVersion, client, p.Capabilities != nil, logged,
				),
			), nil
		},
	)
}

func codeTool(code int64) mcptools.Tool {
	return mcptools.Define(
		mcptools.Definition{Name: fmt.Sprintf("code%d", -code), Description: "x"},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return nil, nil, &jsonrpc.Error{Code: code, Message: "x"}
		},
	)
}

func TestStatelessConn_ToolsSeeWhatTheyWouldFromTheSDK(t *testing.T) {
	codes := []int64{
		mcp.CodeMissingRequiredClientCapabilities, mcp.CodeUnsupportedProtocolVersion,
		jsonrpc.CodeMethodNotFound, jsonrpc.CodeInternalError,
	}
	all := []mcptools.Tool{requestTool()}
	cases := map[string]testPost{
		"modern": modernCall(
			"inquire", "{}",
		).replaced(`"_meta":{`, `"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"me","version":"1"},`).
			with("X-Test", "here"),
		"legacy": legacy("tools/call", `"name":"inquire"`).with("X-Test", "here"),
	}
	for _, code := range codes {
		tool := codeTool(code)
		all = append(all, tool)
		cases[tool.Name] = modernCall(tool.Name, "{}")
	}
	for name, p := range cases {
		h := handlerOf(mcptools.Catalog{Tools: all}, func(cfg *Config) { cfg.Settings.Era = EraStateless })
		status, _, got := responseTo(t, p, func(w http.ResponseWriter, r *http.Request) {
			_, handler, done := h.Route(r)
			defer done()
			if _, ok := handler.(*statelessConn); !ok {
				t.Errorf("%s: served by a %T", name, handler)
			}
			handler.ServeHTTP(w, r)
		})
		sdkStatus, _, want := responseTo(
			t,
			p,
			h.first.withCallContext(message{}, mcp.NewStreamableHTTPHandler(
				func(*http.Request) *mcp.Server { return h.server }, &mcp.StreamableHTTPOptions{Stateless: true},
			)).ServeHTTP,
		)
		if fmt.Sprint(status, got) != fmt.Sprint(sdkStatus, want) {
			t.Errorf("%s: answered %d %s, the SDK %d %s", name, status, got, sdkStatus, want)
		}
	}
}

func TestHeadersMatch_ForPromptsAndResources(t *testing.T) {
	h := handlerOf(fullCatalog())
	for name, p := range map[string]testPost{
		"another prompt":   modern("prompts/get", `"name":"plan"`).with(nameHeader, "other"),
		"no prompt":        modern("prompts/get", `"name":""`),
		"another resource": modern("resources/read", `"uri":"doc://a"`).with(nameHeader, "doc://b"),
		"no resource":      modern("resources/read", `"uri":""`),
	} {
		_, handler, done := h.Route(p.request())
		defer done()
		if _, ok := handler.(*statelessConn); ok {
			t.Errorf("%s: served directly", name)
		}
	}
}

func TestAccepts_ReadsEverySpelling(t *testing.T) {
	for _, c := range []struct {
		lines         []string
		whole, events bool
	}{
		{[]string{"application/json, text/event-stream"}, true, true},
		{[]string{"application/json", "text/event-stream"}, true, true},
		{[]string{"application/*"}, true, false}, {[]string{"text/*"}, false, true},
		{[]string{"*/*;q=0.1"}, true, true}, {nil, false, false},
		{[]string{" TEXT/event-stream ; x=y"}, false, true},
	} {
		if whole, events := accepts(http.Header{"Accept": c.lines}); whole != c.whole || events != c.events {
			t.Errorf("%q: %v, %v", c.lines, whole, events)
		}
	}
}
