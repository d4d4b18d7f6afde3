package mcphttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// endlessCursor is base64url of a gob of a page token with one more field: a map of 2^62 entries whose keys and
// values
// are structs. encoding/gob skips such a field entry by entry and consumes no input for it.
const endlessCursor = "IX8DAQEBVAH_gAABAgEHTGFzdFVJRAEMAAEBWAH_hAAAACP_gwQBARFtYXBbbWFpbi5LXW1haW4uSwH_hAAB" +
	"_4IB_4IAABL_gQMBAv-CAAEBAQFBAQQAAAAM_4AC-EAAAAAAAAAA"

var listMethods = []string{methodListTools, methodListPrompts, methodListResources, methodListTemplates}

func TestCursors_AreRejectedBeforeTheSDKDecodesThem(t *testing.T) {
	dual := serve(t, handlerOf(fullCatalog()), time.Now().Add(time.Hour))
	stateless := serve(
		t, handlerOf(fullCatalog(), func(cfg *Config) { cfg.Settings.Era = EraStateless }),
		time.Now().Add(time.Hour),
	)
	session := connect(t, dual, "2025-11-25").ID()
	for _, method := range listMethods {
		for name, c := range map[string]struct {
			url string
			testPost
		}{
			"2026-07-28": {dual, modern(method, `"cursor":"`+endlessCursor+`"`)},
			"2026-07-28, the SDK's handler": {
				dual, modern(method, `"cursor":"`+endlessCursor+`"`).replaced(`"id":7`, `"id":-7`),
			},
			"an escaped cursor": {dual, modern(method, `"cursor":"\u0049`+endlessCursor[1:]+`"`)},
			"stateless":         {stateless, legacy(method, `"cursor":"`+endlessCursor+`"`)},
			"stateless, the SDK's handler": {
				stateless, legacy(method, `"cursor":"`+endlessCursor+`"`).replaced(`"id":7`, `"id":-7`),
			},
			"in a session":               {dual, legacy(method, `"cursor":"`+endlessCursor+`"`).with(sessionHeader, session)},
			"a cursor that is no string": {dual, modern(method, `"cursor":7`)},
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				status, body := sendTo(t, c.url, c.testPost)
				if status != http.StatusBadRequest || !strings.Contains(body, "-32602") ||
					strings.Contains(body, endlessCursor[:20]) {
					t.Errorf("answered %d %s, want 400 with -32602 and without the cursor", status, body)
				}
			})
		}
		for name, cursor := range map[string]string{"empty": `""`, "null": `null`} {
			if status, body := sendTo(t, dual, modern(method, `"cursor":`+cursor)); status != http.StatusOK {
				t.Errorf("%s: a cursor that is %s is answered %d %s, want 200", method, name, status, body)
			}
		}
	}
}

// The middleware checks what is dispatched, in case the SDK parses a message differently.
func TestMiddleware_RejectsACursorThatIsDispatched(t *testing.T) {
	extra := &mcp.RequestExtra{TokenInfo: mcptools.TokenInfo(alice())}
	for method, req := range map[string]mcp.Request{
		methodListTools:     &mcp.ListToolsRequest{Params: &mcp.ListToolsParams{Cursor: "x"}, Extra: extra},
		methodListPrompts:   &mcp.ListPromptsRequest{Params: &mcp.ListPromptsParams{Cursor: "x"}, Extra: extra},
		methodListResources: &mcp.ListResourcesRequest{Params: &mcp.ListResourcesParams{Cursor: "x"}, Extra: extra},
		methodListTemplates: &mcp.ListResourceTemplatesRequest{
			Params: &mcp.ListResourceTemplatesParams{Cursor: "x"}, Extra: extra,
		},
	} {
		if err := (middleware{}).checkParams(method, req); err == nil {
			t.Errorf("%s: the cursor is passed on to the SDK", method)
		}
	}
}

func TestLists_OfMoreThanAThousandToolsAreSentWhole(t *testing.T) {
	nothing := func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return nil, nil, nil
	}
	var c mcptools.Catalog
	for i := range mcp.DefaultPageSize + 7 {
		tool := mcptools.Define(mcptools.Definition{Name: "tool_" + strconv.Itoa(i), Description: "x"}, nothing)
		c.Tools = append(c.Tools, tool)
	}
	s := connect(t, serve(t, handlerOf(c), time.Now().Add(time.Hour), "greet:read"), "2026-07-28")
	list, err := s.ListTools(t.Context(), nil)
	if err != nil || len(list.Tools) != len(c.Tools) || list.NextCursor != "" {
		t.Errorf(
			"%d tools with cursor %q and error %v, want %d and no cursor", len(list.Tools), list.NextCursor, err,
			len(c.Tools),
		)
	}
}

// members returns n members of an object, with distinct names.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%x":0,`, i)
	}
	return b.String()
}

// repeated returns n copies of part, separated by commas.
func repeated(part string, n int) string { return strings.TrimSuffix(strings.Repeat(part+",", n), ",") }

func TestMessages_LargerThanAnyRealOneAreRejectedBriefly(t *testing.T) {
	url := serve(t, handlerOf(fullCatalog()), time.Now().Add(time.Hour), "greet:read")
	long := strings.Repeat("x", maxNameBytes+1)
	large := `"x":"` + strings.Repeat("y", 900_000) + `"`
	arguments := func(n int) string { return `{"name":"Ada","x":[` + repeated("1", n-2) + `]}` }
	for name, c := range map[string]struct {
		testPost
		status int
		want   string
	}{
		"10,000 values in arguments": {modernCall("greet", arguments(10_000)), 200, "additional properties"},
		"10,001 values in arguments": {modernCall("greet", arguments(10_001)), 413, "too many values"},
		"objects without end": {
			modernCall("greet", `{"x":[`+repeated(`{"":0}`, 140_000)+`]}`), 413, "too many values",
		},
		"200 values in _meta": {
			modern("tools/list", "").replaced(`"_meta":{`, `"_meta":{"x":[`+repeated("1", 197)+`],`), 200, "greet",
		},
		"201 values in _meta": {
			modern("tools/list", "").replaced(`"_meta":{`, `"_meta":{"x":[`+repeated("1", 198)+`],`), 413, "_meta",
		},
		"201 values in initialize": {legacy("initialize", `"x":[`+repeated("1", 200)+`]`), 413, "too many values"},
		"201 values in a notification": {
			legacy("notifications/initialized", `"x":[`+repeated("1", 200)+`]`).replaced(`"id":7,`, ""),
			413, "too many values",
		},
		"10,001 values in a response": {
			testPost{`{"jsonrpc":"2.0","id":1,"result":[` + repeated("1", 10_001) + `]}`, nil},
			413, "too many values",
		},
		"many values besides arguments": {
			modern("tools/call", `"name":"greet","inputResponses":{"x":[`+repeated("1", 1_001)+`]}`),
			413, "besides arguments",
		},
		"64 levels":               {modernCall("greet", `{"x":`+nested(61)+`}`), 200, "additional properties"},
		"65 levels":               {modernCall("greet", `{"x":`+nested(62)+`}`), 400, "too deeply"},
		"a long name of a tool":   {modernCall(long, `{}`), 400, "too long"},
		"a long name of a prompt": {modern("prompts/get", `"name":"`+long+`"`), 400, "too long"},
		"a long URI":              {modern("resources/read", `"uri":"`+long+`"`), 400, "too long"},
		"a long URI to listen to": {
			modern("subscriptions/listen", `"notifications":{"resourceSubscriptions":["`+long+`"]}`),
			400, "too long",
		},
		"a long URI to complete": {
			modern("completion/complete", `"ref":{"type":"ref/resource","uri":"`+long+`"}`), 400, "too long",
		},
		"101 URIs to listen to": {
			modern("subscriptions/listen", `"notifications":{"resourceSubscriptions":[`+repeated(`"doc://a"`, 101)+`]}`),
			400, "more than 100",
		},
		"a long method": {
			modern(strings.Repeat("m", 45_000), "").with(methodHeader, "m"), 400, "method is too long",
		},
		"params of the wrong type": {
			modern("tools/call", `"name":"greet","requestState":7,`+large), 400, "params do not match the method",
		},
		"arguments of a prompt": {
			modern("prompts/get", `"name":"plan","arguments":{"a":7},`+large), 400, "params do not match the method",
		},
		"small params of the wrong type": {
			modern("prompts/get", `"name":"plan","arguments":{"secret":7}`).with(nameHeader, "plan"),
			400, "params do not match the method",
		},
		"the same, on the SDK's handler": {
			modern("prompts/get", `"name":"plan","arguments":{"secret":7}`).
				replaced(`"id":7`, `"id":-7`).with(nameHeader, "plan"),
			400, "params do not match the method",
		},
		"the same, in a list": {modern("tools/list", large), 413, "params are too large"},
		"a version in a header": {
			modern("tools/list", "").with(versionHeader, strings.Repeat("9", 30_000)), 400, "header is too long",
		},
		"a method in a header": {
			modern("tools/list", "").with(methodHeader, strings.Repeat("m", 30_000)), 400, "header is too long",
		},
		"a name in a header": {
			modern("tools/call", `"name":"greet"`).with(nameHeader, strings.Repeat("n", 8_000)),
			400, "not the name in the message",
		},
		"a version in _meta": {
			legacy("ping", `"_meta":{"`+metaVersion+`":"`+strings.Repeat("1", 15_000)+`"}`).with(sessionHeader, "x"),
			400, "unsupported",
		},
		"a tool with a long name": {modernCall(strings.Repeat("n", 8_000), `{}`), 400, "unknown tool"},
		"the names of many members": {
			testPost{`{` + members(100_000) + `"method":"tools/list"}`, nil}, 413, "too many values",
		},
		"a large subscription": {
			modern("subscriptions/listen", `"x":"`+strings.Repeat("x", 17<<10)+`"`), 413, "is limited to 16 KiB",
		},
		"arguments that the schema names": {
			modernCall("greet", `{"name":{"secret":"`+strings.Repeat("z", 500_000)+`"}}`), 200, "truncated",
		},
		"an id that is null": {modern("tools/list", "").replaced(`"id":7`, `"id":null`), 400, "-32600"},
		"an id beyond 2^53": {
			modern("tools/list", "").replaced(`"id":7`, `"id":9007199254740993`),
			400, "-32600",
		},
		"an id below -2^53": {
			modern("tools/list", "").replaced(`"id":7`, `"id":-9007199254740993`),
			400, "-32600",
		},
		"an id that no float64 can hold": {modern("tools/list", "").replaced(`"id":7`, `"id":1e999`), 400, "-32600"},
		"an id that is a fraction":       {modern("tools/list", "").replaced(`"id":7`, `"id":1.5`), 400, "-32600"},
		"an id that is an object":        {modern("tools/list", "").replaced(`"id":7`, `"id":{"a":1}`), 400, "-32600"},
		"the largest id": {
			modern("tools/list", "").replaced(`"id":7`, `"id":9007199254740991`), 200, "9007199254740991",
		},
		"arguments that are null": {modernCall("report", `null`), 200, "done"},
		"_meta that is null": {
			legacy("initialize", `"_meta":null,"protocolVersion":"2025-11-25","capabilities":{},`+
				`"clientInfo":{"name":"t","version":"1"}`),
			200, "serverInfo",
		},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := sendTo(t, url, c.testPost)
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("answered %d %.300s, want %d with %q", status, body, c.status, c.want)
			}
			if status != http.StatusOK && len(body) > 1_400 || len(body) > 8<<10 ||
				strings.Contains(body, "secret") && status != http.StatusOK {
				t.Errorf("%d bytes are answered, which quote the message: %.300s", len(body), body)
			}
		})
	}
}

func TestParams_NullCountsAsAbsent(t *testing.T) {
	dual := serve(t, handlerOf(fullCatalog()), time.Now().Add(time.Hour), "greet:read")
	stateless := serve(
		t, handlerOf(fullCatalog(), func(cfg *Config) { cfg.Settings.Era = EraStateless }),
		time.Now().Add(time.Hour), "greet:read",
	)
	session := connect(t, dual, "2025-11-25").ID()
	noParams := func(method string) testPost { return legacy(method, "").replaced(`"params":{}`, `"params":null`) }
	for name, c := range map[string]struct {
		url string
		testPost
		status int
	}{
		"params of a list, in a session":      {dual, noParams("tools/list").with(sessionHeader, session), 200},
		"params of a list, stateless":         {stateless, noParams("tools/list"), 200},
		"params of a list, the SDK's handler": {stateless, noParams("tools/list").replaced(`"id":7`, `"id":-7`), 200},
		"params of ping, in a session":        {dual, noParams("ping").with(sessionHeader, session), 200},
		"params of a notification, in a session": {
			dual, noParams("notifications/initialized").replaced(`"id":7,`, "").with(sessionHeader, session), 202,
		},
		"_meta of a call, in a session": {
			dual, legacy("tools/call", `"name":"greet","arguments":{"name":"Ada"},"_meta":null`).with(sessionHeader, session),
			200,
		},
		"_meta of a call, stateless": {
			stateless, legacy("tools/call", `"name":"greet","arguments":{"name":"Ada"},"_meta":null`), 200,
		},
		"arguments of a call, in a session": {
			dual, legacy("tools/call", `"name":"report","arguments":null`).with(sessionHeader, session), 200,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if status, body := sendTo(t, c.url, c.testPost); status != c.status ||
				strings.Contains(body, `"error"`) {
				t.Errorf("answered %d %s, want %d and no error", status, body, c.status)
			}
		})
	}
}

func TestSubscriptions_ToUnknownResourcesAreRejected(t *testing.T) {
	var subscribed []string
	catalog := fullCatalog()
	catalog.Options = func(o *mcp.ServerOptions) {
		o.SubscribeHandler = func(_ context.Context, req *mcp.SubscribeRequest) error {
			subscribed = append(subscribed, req.Params.URI)
			return nil
		}
		o.UnsubscribeHandler = func(context.Context, *mcp.UnsubscribeRequest) error { return nil }
	}
	url := serve(t, handlerOf(catalog), time.Now().Add(time.Hour))
	status, body := sendTo(
		t, url,
		modern("subscriptions/listen", `"notifications":{"resourceSubscriptions":["doc://a","secret://x"]}`),
	)
	if !strings.Contains(body, "-32602") || len(subscribed) > 0 {
		t.Errorf("answered %d %s, and subscribed to %s; want -32602 and no subscription", status, body, subscribed)
	}
}

// sendTo posts a message and returns the response.
func sendTo(t *testing.T, url string, p testPost) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(p.to(url))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(fmt.Errorf("reading the answer: %w", err))
	}
	return resp.StatusCode, string(text)
}
