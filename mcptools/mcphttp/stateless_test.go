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

// reporting is a tool that says twice how far it is.
func reporting() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{Name: "report", Description: "x"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, struct{}, error) {
		for step := range 2 {
			if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p", Progress: float64(step)}); err != nil {
				return nil, struct{}{}, err
			}
		}
		return text("done"), struct{}{}, nil
	})
}

// muddled is a tool that tries what cannot work without a session: to ask its client something, and to tell it something outside
// of the call.
func muddled() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{Name: "muddle", Description: "x"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		asked := req.Session.Ping(ctx, nil)
		told := req.Session.NotifyProgress(context.WithoutCancel(context.Background()), &mcp.ProgressNotificationParams{ProgressToken: "p"})
		return text(fmt.Sprintf("asked: %v, told: %v", asked != nil, told != nil)), nil, nil
	})
}

// inHeaders is a tool whose parameter has to stand in a header too.
func inHeaders() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{Name: "headed", Description: "x", Input: func(s *jsonschema.Schema) {
		s.Properties["name"].Extra = map[string]any{"x-mcp-header": "Name"}
	}}, func(_ context.Context, _ *mcp.CallToolRequest, in greetInput) (*mcp.CallToolResult, greetOutput, error) {
		return nil, greetOutput{Greeting: in.Name}, nil
	})
}

func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

func plentiful() mcptools.Catalog {
	failing := mcptools.Define(mcptools.Definition{Name: "fail", Description: "x"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, struct{}, error) {
		return nil, struct{}{}, errors.New("no luck")
	})
	return mcptools.Catalog{
		Tools: []mcptools.Tool{greet(), reporting(), muddled(), inHeaders(), failing},
		Prompts: []mcptools.Prompt{{Prompt: &mcp.Prompt{Name: "plan"}, Handler: func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Description: "a plan"}, nil
		}}},
		Resources: []mcptools.Resource{{Resource: &mcp.Resource{URI: "doc://a", Name: "a"}, Handler: func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "doc://a", Text: "content"}}}, nil
		}}},
	}
}

// posted is a request as it arrives behind the gate.
type posted struct {
	body   string
	header map[string]string
}

func (p posted) with(pairs ...string) posted {
	header := map[string]string{}
	for k, v := range p.header {
		header[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		header[pairs[i]] = pairs[i+1]
	}
	return posted{p.body, header}
}

func (p posted) replaced(old, new string) posted {
	return posted{strings.Replace(p.body, old, new, 1), p.header}
}

// to is the request to a server that listens.
func (p posted) to(url string) *http.Request { return p.by(http.MethodPost, url) }

func (p posted) by(method, url string) *http.Request {
	r := p.request()
	sent, err := http.NewRequest(method, url, strings.NewReader(p.body))
	if err != nil {
		panic(err)
	}
	sent.Header = r.Header
	return sent
}

func (p posted) request() *http.Request {
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

const plainMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

func modernly(method, params string) posted {
	if params != "" {
		params += ","
	}
	p := posted{fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{%s%s}}`, method, params, plainMeta),
		map[string]string{versionHeader: modernVersion, methodHeader: method}}
	return p
}

func modernlyCalling(tool, arguments string) posted {
	return modernly("tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, tool, arguments)).with(nameHeader, tool)
}

func legacily(method, params string) posted {
	return posted{fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{%s}}`, method, params), map[string]string{versionHeader: "2025-11-25"}}
}

// answerTo serves a request as alice's, and returns the status and the messages of the answer.
func answerTo(t *testing.T, p posted, serve func(http.ResponseWriter, *http.Request)) (status int, kind string, messages []any) {
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

// answered is a request of the older or the newer era, and its expected answer without a session.
type answered struct {
	posted
	status int
	want   string // part of the answer
	stream bool
}

func answeredRequests() map[string]answered {
	greetAda := modernlyCalling("greet", `{"name":"Ada"}`)
	legacyAda := legacily("tools/call", `"name":"greet","arguments":{"name":"Ada"}`)
	return map[string]answered{
		"a call":                            {greetAda, 200, "Hello, Ada!", false},
		"a call with a text for an id":      {greetAda.replaced(`"id":7`, `"id":"a-1"`), 200, `"a-1"`, false},
		"a call with an escaped id":         {greetAda.replaced(`"id":7`, `"id":"\u0061\"1"`), 200, `"a\"1"`, false},
		"a call with the largest id":        {greetAda.replaced(`"id":7`, `"id":9007199254740991`), 200, "9007199254740991", false},
		"a call with the id 0":              {greetAda.replaced(`"id":7`, `"id":0`), 200, "Hello", false},
		"text that HTML would escape":       {modernlyCalling("greet", `{"name":"<b>&</b>\u2028é"}`), 200, "<b>&</b>", false},
		"a call without arguments":          {modernly("tools/call", `"name":"report"`).with(nameHeader, "report"), 200, "done", true},
		"wrong arguments":                   {modernlyCalling("greet", `{"name":7}`), 200, "isError", false},
		"a tool that fails":                 {modernlyCalling("fail", `{}`), 200, "no luck", false},
		"a tool that nobody has":            {modernlyCalling("nosuch", `{}`), 400, "-32602", false},
		"a tool that reports":               {modernlyCalling("report", `{}`), 200, "notifications/progress", true},
		"a tool that asks and mutters":      {modernlyCalling("muddle", `{}`), 200, "asked: true, told: true", false},
		"other spellings of Accept":         {greetAda.with("Accept", "text/event-stream,application/json;q=0.9"), 200, "Hello", false},
		"capabilities that are missing":     {greetAda.replaced(`,"io.modelcontextprotocol/clientCapabilities":{}`, ""), 400, "-32602", false},
		"capabilities of the wrong kind":    {greetAda.replaced(`"io.modelcontextprotocol/clientCapabilities":{}`, `"io.modelcontextprotocol/clientCapabilities":7`), 400, "-32602", false},
		"a name twice in the arguments":     {modernlyCalling("greet", `{"name":"Ada","name":"Bob"}`), 200, "Hello", false},
		"deep nesting":                      {modernlyCalling("greet", `{"name":"[[[\\\"{{{","x":`+nested(61)+`}`), 200, "isError", false},
		"a list of tools":                   {modernly("tools/list", ""), 200, `"greet"`, false},
		"a list of prompts":                 {modernly("prompts/list", ""), 200, `"plan"`, false},
		"a list of resources":               {modernly("resources/list", ""), 200, `"doc://a"`, false},
		"a list of templates":               {modernly("resources/templates/list", ""), 200, `"resourceTemplates"`, false},
		"a prompt":                          {modernly("prompts/get", `"name":"plan"`).with(nameHeader, "plan"), 200, "a plan", false},
		"a prompt that nobody has":          {modernly("prompts/get", `"name":"x"`).with(nameHeader, "x"), 400, "-32602", false},
		"a resource":                        {modernly("resources/read", `"uri":"doc://a"`).with(nameHeader, "doc://a"), 200, "content", false},
		"a resource that nobody has":        {modernly("resources/read", `"uri":"doc://x"`).with(nameHeader, "doc://x"), 400, "-32602", false},
		"a completion":                      {modernly("completion/complete", `"ref":{"type":"ref/prompt","name":"plan"},"argument":{"name":"a","value":"b"}`), 404, "-32601", false},
		"2025-11-25: a call":                {legacyAda, 200, "Hello, Ada!", false},
		"2025-11-25: a call without params": {legacily("tools/list", "").replaced(`,"params":{}`, ""), 200, `"greet"`, false},
		"2025-03-26: a call":                {legacyAda.with(versionHeader, ""), 200, "Hello, Ada!", false},
		"2025-11-25: a tool nobody has":     {legacily("tools/call", `"name":"nosuch"`), 200, "-32602", false},
		"2025-11-25: a tool that reports":   {legacily("tools/call", `"name":"report"`), 200, "notifications/progress", true},
		"2025-11-25: one that asks":         {legacily("tools/call", `"name":"muddle"`), 200, "asked: true, told: true", false},
		"2025-11-25: a completion":          {legacily("completion/complete", `"ref":{"type":"ref/prompt","name":"plan"},"argument":{"name":"a","value":"b"}`), 200, "-32601", false},
	}
}

func TestStatelessConn_AnswersAsTheSDK(t *testing.T) {
	for name, c := range answeredRequests() {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(plentiful(), func(cfg *Config) { cfg.Settings.Era = EraStateless })
			status, kind, got := answerTo(t, c.posted, func(w http.ResponseWriter, r *http.Request) {
				_, handler, done := h.Route(r)
				defer done()
				if _, ok := handler.(*statelessConn); !ok {
					t.Errorf("served by a %T", handler)
				}
				handler.ServeHTTP(w, r)
			})
			serverFor := func(*http.Request) *mcp.Server { return h.server }
			sdk := mcp.NewStreamableHTTPHandler(serverFor, &mcp.StreamableHTTPOptions{Stateless: true})
			sdkStatus, _, want := answerTo(t, c.posted, sdk.ServeHTTP)
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

// Everything that is not plainly in order is the SDK's to judge.
func TestWhatIsOddIsLeftToTheSDK(t *testing.T) {
	ada := modernlyCalling("greet", `{"name":"Ada"}`)
	legacyAda := legacily("tools/call", `"name":"greet","arguments":{"name":"Ada"}`)
	for name, p := range map[string]posted{
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
		"a result beside the method":         ada.replaced(`"id":7`, `"id":7,"result":{}`),
		"an error beside the method":         ada.replaced(`"id":7`, `"id":7,"error":7`),
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
		"a parameter in a header":            modernlyCalling("headed", `{"name":"Ada"}`).with("Mcp-Param-Name", "Ada"),
		"a method that nobody has":           modernly("tools/nosuch", ""),
		"a discovery":                        modernly("server/discover", ""),
		"a subscription":                     modernly("subscriptions/listen", `"notifications":{}`),
		"a notification":                     legacily("notifications/initialized", "").replaced(`"id":7,`, ""),
		"a handshake":                        legacily("initialize", `"protocolVersion":"2025-11-25"`),
		"a ping":                             legacily("ping", ""),
		"2026-07-28 in a call of 2025-11-25": legacyAda.replaced(`"params":{`, `"params":{`+plainMeta+`,`),
	} {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(plentiful(), func(cfg *Config) { cfg.Settings.Era = EraStateless })
			_, handler, done := h.Route(p.request())
			defer done()
			if _, ok := handler.(*statelessConn); ok {
				t.Error("it was served directly")
			}
		})
	}
}

// There is no rest of a stream to come back for, so nothing may be lost when a tool asks its client to.
func TestAToolThatPostponesIsAnsweredAllTheSame(t *testing.T) {
	postponing := mcptools.Define(mcptools.Definition{Name: "postpone", Description: "x"}, func(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, struct{}, error) {
		req.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: time.Second})
		return text("here"), struct{}{}, nil
	})
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		s := connect(t, serve(t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{postponing}}, func(cfg *Config) { cfg.Settings.Era = EraStateless }), time.Now().Add(time.Hour)), version)
		if r, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "postpone"}); err != nil || r.IsError {
			t.Errorf("%s: %v, %v", version, r, err)
		}
	}
}

// MCP 2025-11-25, transports: disconnection is not cancellation.
func TestACallOf20251125WithoutSessionGoesOnWhenItsClientHangsUp(t *testing.T) {
	begun, over, finished := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	patient := mcptools.Define(mcptools.Definition{Name: "wait", Description: "x"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, struct{}, error) {
		close(begun)
		<-over
		finished <- ctx.Err()
		return nil, struct{}{}, nil
	})
	url := serve(t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{patient}}, func(cfg *Config) { cfg.Settings.Era = EraStateless }), time.Now().Add(time.Hour))
	ctx, hangUp := context.WithCancel(context.Background())
	req := legacily("tools/call", `"name":"wait"`).to(url).WithContext(ctx)
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
	time.Sleep(50 * time.Millisecond) // the server has to notice
	close(over)
	if err := <-finished; err != nil {
		t.Errorf("the call was ended: %v", err)
	}
}

// What the SDK would write is written without its help; the reader must not be able to tell.
func TestAResultIsWrittenAsTheSDKWritesIt(t *testing.T) {
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
			if json.Unmarshal(ours, &got) != nil || json.Unmarshal(theirs, &want) != nil || !reflect.DeepEqual(got, want) {
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

func TestNothingStaysOfACallWithoutSessionThatItsClientLeft(t *testing.T) {
	begun, over := make(chan struct{}), make(chan struct{})
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{mcptools.Define(mcptools.Definition{Name: "wait", Description: "x"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		close(begun)
		<-over
		return text("x"), nil, nil
	})}}, func(cfg *Config) { cfg.Settings.Era = EraStateless })
	url := serve(t, h, time.Now().Add(time.Hour))
	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		if resp, err := bearerClient().Do(legacily("tools/call", `"name":"wait"`).to(url).WithContext(ctx)); err == nil {
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

// inquiring is a tool that tells what it learns of its request.
func inquiring() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{Name: "inquire", Description: "x"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		//lint:ignore SA1019 tools may use it until it is gone
		logged := req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: "hello"})
		p := req.Session.InitializeParams()
		client := "nobody"
		if p.ClientInfo != nil {
			client = p.ClientInfo.Name
		}
		return text(fmt.Sprintf("header %q, version %s, client %s, capabilities %v, log %v", req.Extra.Header.Get("X-Test"), p.ProtocolVersion, client, p.Capabilities != nil, logged)), nil, nil
	})
}

func inCode(code int64) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{Name: fmt.Sprintf("code%d", -code), Description: "x"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return nil, nil, &jsonrpc.Error{Code: code, Message: "x"}
	})
}

func TestAToolLearnsDirectlyWhatItWouldFromTheSDK(t *testing.T) {
	codes := []int64{mcp.CodeMissingRequiredClientCapabilities, mcp.CodeUnsupportedProtocolVersion, jsonrpc.CodeMethodNotFound, jsonrpc.CodeInternalError}
	all := []mcptools.Tool{inquiring()}
	cases := map[string]posted{
		"modern": modernlyCalling("inquire", "{}").replaced(`"_meta":{`, `"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"me","version":"1"},`).with("X-Test", "here"),
		"legacy": legacily("tools/call", `"name":"inquire"`).with("X-Test", "here"),
	}
	for _, code := range codes {
		tool := inCode(code)
		all = append(all, tool)
		cases[tool.Name] = modernlyCalling(tool.Name, "{}")
	}
	for name, p := range cases {
		h := handlerOf(mcptools.Catalog{Tools: all}, func(cfg *Config) { cfg.Settings.Era = EraStateless })
		status, _, got := answerTo(t, p, func(w http.ResponseWriter, r *http.Request) {
			_, handler, done := h.Route(r)
			defer done()
			if _, ok := handler.(*statelessConn); !ok {
				t.Errorf("%s: served by a %T", name, handler)
			}
			handler.ServeHTTP(w, r)
		})
		sdkStatus, _, want := answerTo(t, p, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return h.server }, &mcp.StreamableHTTPOptions{Stateless: true}).ServeHTTP)
		if fmt.Sprint(status, got) != fmt.Sprint(sdkStatus, want) {
			t.Errorf("%s: answered %d %s, the SDK %d %s", name, status, got, sdkStatus, want)
		}
	}
}

func TestNamesInHeadersMustAgreeForPromptsAndResources(t *testing.T) {
	h := handlerOf(plentiful())
	for name, p := range map[string]posted{
		"another prompt":   modernly("prompts/get", `"name":"plan"`).with(nameHeader, "other"),
		"no prompt":        modernly("prompts/get", `"name":""`),
		"another resource": modernly("resources/read", `"uri":"doc://a"`).with(nameHeader, "doc://b"),
		"no resource":      modernly("resources/read", `"uri":""`),
	} {
		_, handler, done := h.Route(p.request())
		defer done()
		if _, ok := handler.(*statelessConn); ok {
			t.Errorf("%s: served directly", name)
		}
	}
}

func TestAcceptIsReadAsItIsWritten(t *testing.T) {
	for _, c := range []struct {
		lines         []string
		whole, events bool
	}{
		{[]string{"application/json, text/event-stream"}, true, true}, {[]string{"application/json", "text/event-stream"}, true, true},
		{[]string{"application/*"}, true, false}, {[]string{"text/*"}, false, true}, {[]string{"*/*;q=0.1"}, true, true}, {nil, false, false},
		{[]string{" TEXT/event-stream ; x=y"}, false, true},
	} {
		if whole, events := accepts(http.Header{"Accept": c.lines}); whole != c.whole || events != c.events {
			t.Errorf("%q: %v, %v", c.lines, whole, events)
		}
	}
}
