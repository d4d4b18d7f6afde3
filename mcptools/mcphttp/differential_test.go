package mcphttp

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"pgregory.net/rapid"
)

// The transports of this package are compared with the SDK's own HTTP handler: over real HTTP, with the same MCP
// server
// behind both. What a transport takes, the SDK must answer with the same status and the same messages. Whether a
// reply
// is plain JSON or an event stream may differ, because clients accept both.

// pair is an endpoint of this package and the SDK's handler, in front of the same MCP server.
type pair struct {
	ours, sdk  string // URLs
	inOurs     string // session IDs; empty without sessions
	inSDK      string
	httpClient *http.Client
}

// transportHeader has the type of the handler that served a request.
const transportHeader = "X-Transport"

func newPair(t *testing.T, era string) *pair {
	t.Helper()
	h := handlerOf(fullCatalog(), func(cfg *Config) { cfg.Settings.Era, cfg.Settings.Keepalive = era, 0 })
	caller := alice("greet:read")
	ours := httptest.NewServer(
		authenticated(caller, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, handler, done := h.Route(r)
			defer done()
			w.Header().Set(transportHeader, fmt.Sprintf("%T", handler))
			handler.ServeHTTP(w, r)
		})),
	)
	bare := h.first.withCallContext(message{}, mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return h.server },
		&mcp.StreamableHTTPOptions{Stateless: era == EraStateless, PropagateRequestCancellation: true}))
	sdk := httptest.NewServer(
		authenticated(caller, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// As in front of the SDK's handler in Handler.route.
			body, _ := io.ReadAll(r.Body)
			m, _ := parseMessage(body)
			r.Body = m.newBody()
			switch {
			case isModern(r, m):
				normalizeHeaders(r.Header)
			case era == EraStateless:
				r.Header.Del(sessionHeader)
			}
			bare.ServeHTTP(w, r)
		})),
	)
	p := &pair{ours: ours.URL, sdk: sdk.URL, httpClient: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		p.httpClient.CloseIdleConnections()
		h.CloseStreams()
		ours.Close()
		sdk.Close()
		h.CloseSessions()
	})
	if era == EraDual {
		p.inOurs, p.inSDK = p.initialize(t, p.ours), p.initialize(t, p.sdk)
	}
	return p
}

// initialize opens a session.
func (p *pair) initialize(t *testing.T, url string) string {
	t.Helper()
	r := p.send(t, url, "", legacy("initialize",
		`"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}`))
	id := r.header.Get(sessionHeader)
	initialized := legacy("notifications/initialized", "").replaced(`"id":7,`, "")
	if got := p.send(t, url, id, initialized); id == "" || got.status != http.StatusAccepted {
		t.Fatalf("initialize: %d %s, initialized: %d %s", r.status, r.text, got.status, got.text)
	}
	return id
}

// reply is the status and the messages of a response.
type reply struct {
	status   int
	header   http.Header
	text     string
	messages []any // nil for a body without JSON-RPC messages
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface{ Fatal(args ...any) }

// send posts a request, in the session if it is not empty.
func (p *pair) send(t fataler, url, session string, request testPost) reply {
	if session != "" && request.header[sessionHeader] == "" {
		request = request.with(sessionHeader, session)
	}
	resp, err := p.httpClient.Do(request.to(url))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header, text: string(body)}
	// Of several faults the validator names them in the random order of a map.
	fault := regexp.MustCompile(`(validating \\"arguments\\": )(?:[^"\\]|\\.)*`)
	read := func(text string) {
		var message any
		if err := json.Unmarshal([]byte(fault.ReplaceAllString(text, "$1")), &message); err != nil {
			t.Fatal(fmt.Sprintf("%q is not a message: %v", text, err))
		}
		r.messages = append(r.messages, message)
	}
	switch resp.Header.Get("Content-Type") {
	case "text/event-stream":
		for line := range strings.Lines(r.text) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				read(data)
			}
		}
	case "application/json":
		read(r.text)
	}
	return r
}

// exception is a known difference between this package and the SDK's handler.
type exception struct {
	reason  string
	applies func(request testPost, ours, sdk reply) bool
}

// statelessExceptions and sessionExceptions are all known differences. Each must have a reason for which ours is the
// better answer.
func statelessExceptions() []exception {
	return []exception{{
		"the SDK's error for params that it cannot decode quotes them",
		func(_ testPost, ours, sdk reply) bool {
			return ours.status == sdk.status && strings.Contains(ours.text, errInvalidParams.Error())
		},
	}, {
		"missing params are a JSON-RPC error, and not plain text, which clients do not read; null counts as missing",
		func(_ testPost, ours, sdk reply) bool {
			const text = "invalid request: missing required"
			return strings.Contains(ours.text, `"code":-32600`) && strings.Contains(ours.text, text) &&
				strings.Contains(sdk.text, text)
		},
	}, {
		"a number beyond float64 is an error of the arguments, and not a name that cannot be extracted",
		func(request testPost, _, sdk reply) bool {
			return strings.Contains(request.body, "1e400") &&
				strings.Contains(sdk.text, "failed to extract name")
		},
	}}
}

func sessionExceptions() []exception {
	return append(statelessExceptions(), exception{
		"an unknown method is a JSON-RPC error, and not the SDK's 400 with plain text, which clients do not read",
		func(_ testPost, ours, sdk reply) bool {
			return sdk.status == http.StatusBadRequest && sdk.messages == nil &&
				strings.Contains(sdk.text, "unsupported") && strings.Contains(ours.text, "-32601")
		},
	}, exception{
		"an unknown notification is accepted and ignored, because JSON-RPC 2.0, section 4.1 has no response to it",
		func(request testPost, ours, sdk reply) bool {
			return ours.status == http.StatusAccepted && sdk.status == http.StatusBadRequest &&
				strings.Contains(sdk.text, "notifications/nosuch")
		},
	})
}

// compare sends a request to both. It fails if the transport takes the request and the SDK answers otherwise, and
// reports whether the transport takes it.
func (p *pair) compare(t *rapid.T, request testPost, exceptions []exception) bool {
	ours := p.send(t, p.ours, p.inOurs, request)
	switch ours.header.Get(transportHeader) {
	case "*mcphttp.statelessConn":
	case "*mcphttp.sessionPost":
		if ours.status >= http.StatusBadRequest { // rejected before the server saw it
			return false
		}
	default:
		return false
	}
	sdk := p.send(t, p.sdk, p.inSDK, request)
	if ours.status == sdk.status && cmp.Equal(ours.messages, sdk.messages) {
		return true
	}
	for _, e := range exceptions {
		if e.applies(request, ours, sdk) {
			return true
		}
	}
	t.Fatalf("%s\nwith %v\nis answered\n%d %s\nand by the SDK\n%d %s",
		request.body, request.header, ours.status, ours.text, sdk.status, sdk.text)
	return false
}

// How often a property is checked, without and with GATEHOUSE_LONG. Each round has 100 cases.
const shortRounds, longRounds = 5, 100

func checkProperty(t *testing.T, property func(*rapid.T)) {
	rounds := shortRounds
	if os.Getenv("GATEHOUSE_LONG") != "" {
		rounds = longRounds
	}
	for range rounds {
		rapid.Check(t, property)
	}
}

func TestStatelessConn_AnswersRandomRequestsAsTheSDK(t *testing.T) {
	p := newPair(t, EraStateless)
	all, taken := 0, 0
	checkProperty(t, func(t *rapid.T) {
		all++
		if p.compare(t, randomRequest(t, true), statelessExceptions()) {
			taken++
		}
	})
	if taken < all/10 {
		t.Errorf("only %d of %d requests were compared", taken, all)
	}
}

func TestSession_AnswersRandomRequestsAsTheSDK(t *testing.T) {
	p := newPair(t, EraDual)
	all, taken := 0, 0
	checkProperty(t, func(t *rapid.T) {
		all++
		if p.compare(t, randomRequest(t, false), sessionExceptions()) {
			taken++
		}
	})
	if taken < all/10 {
		t.Errorf("only %d of %d requests were compared", taken, all)
	}
}

// rarely draws true in about one of ten cases. (Numbers near 0 are drawn more often.)
func rarely(t *rapid.T, label string) bool {
	return rapid.IntRange(0, 19).Draw(t, label+", rarely") > 16
}

// notInASession are the requests of answeredRequests that cannot be compared in a session.
func notInASession() map[string]string {
	const ofTheNewerEra = "_meta of MCP 2026-07-28, which a session rejects"
	return map[string]string{
		"capabilities that are missing":  ofTheNewerEra,
		"capabilities of the wrong kind": ofTheNewerEra,
		"a tool that asks and mutters":   "the tool waits for the client, see TestSession_SendsRequestsToTheClient",
		"2025-11-25: one that asks":      "the tool waits for the client, see TestSession_SendsRequestsToTheClient",
	}
}

func TestSession_AnswersAsTheSDK(t *testing.T) {
	p := newPair(t, EraDual)
	compared := 0
	for name, c := range comparedRequests() {
		if notInASession()[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			request := c.testPost
			if request.header[versionHeader] == modernVersion {
				request = testPost{request.body, map[string]string{versionHeader: "2025-11-25"}}.
					replaced(","+plainMeta, "").replaced(plainMeta, "")
			}
			ours, sdk := p.send(t, p.ours, p.inOurs, request), p.send(t, p.sdk, p.inSDK, request)
			if ours.header.Get(transportHeader) != "*mcphttp.sessionPost" {
				t.Errorf("served by a %s", ours.header.Get(transportHeader))
			}
			if ours.status != http.StatusOK || ours.status != sdk.status ||
				!cmp.Equal(ours.messages, sdk.messages) {
				t.Errorf("answered\n%d %s, the SDK\n%d %s", ours.status, ours.text, sdk.status, sdk.text)
			}
			compared++
		})
	}
	if compared < 25 {
		t.Errorf("only %d requests were compared", compared)
	}
}

// Requests that a session rejects, the SDK rejects with the same status, except where the reason is given.
func TestSession_RejectsWithTheStatusOfTheSDK(t *testing.T) {
	p := newPair(t, EraDual)
	call := legacy("tools/call", `"name":"greet","arguments":{"name":"Ada"}`)
	for name, c := range map[string]struct {
		method string
		testPost
		status    int
		exception string // the reason of another status
	}{
		"GET without a session":    {"GET", testPost{"", map[string]string{sessionHeader: " "}}, 400, ""},
		"GET of no session":        {"GET", testPost{"", map[string]string{sessionHeader: "x"}}, 404, ""},
		"GET of JSON":              {"GET", testPost{"", map[string]string{"Accept": "application/json"}}, 400, ""},
		"DELETE without a session": {"DELETE", testPost{"", map[string]string{sessionHeader: " "}}, 400, ""},
		"DELETE of no session":     {"DELETE", testPost{"", map[string]string{sessionHeader: "x"}}, 404, ""},
		"PUT":                      {"PUT", call, 405, ""},
		"a call of no session":     {"POST", call.with(sessionHeader, "x"), 404, ""},
		"text":                     {"POST", call.with("Content-Type", "text/plain"), 415, ""},
		"Accept of JSON":           {"POST", call.with("Accept", "application/json"), 400, ""},
		"an old version":           {"POST", call.with(versionHeader, "2023-01-01"), 400, ""},
		"Last-Event-ID":            {"POST", call.with(lastEventHeader, "1"), 400, ""},
		"MCP 2026-07-28":           {"POST", modernCall("greet", `{}`).with(versionHeader, "2025-11-25"), 400, ""},
		"half a message":           {"POST", call.replaced("}}", ""), 400, ""},
		"no id":                    {"POST", call.replaced(`"id":7,`, ""), 400, ""},
		"a null id":                {"POST", call.replaced(`"id":7`, `"id":null`), 400, ""},
		"JSON-RPC 1.0":             {"POST", call.replaced(`"2.0"`, `"1.0"`), 400, ""},
		"a batch":                  {"POST", testPost{"[" + call.body + "]", call.header}, 400, ""},
		"params of a list": {
			"POST", call.replaced(`"params":{`, `"params":[{`).replaced("}}}", "}}]}"), 400, "JSON",
		},
		"a cursor": {"POST", legacy("tools/list", `"cursor":"x"`), 400, "no cursor exists here"},
		"a name twice": {"POST", call.replaced(`"name":"greet"`, `"name":"greet","name":"fail"`), 400,
			"two parsers may read different names"},
	} {
		t.Run(name, func(t *testing.T) {
			status := func(url, session string) int {
				r := c.by(c.method, url)
				if r.Header.Get(sessionHeader) == "" {
					r.Header.Set(sessionHeader, session)
				}
				if r.Header.Get(sessionHeader) == " " {
					r.Header.Del(sessionHeader)
				}
				resp, err := p.httpClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				return resp.StatusCode
			}
			ours, sdk := status(p.ours, p.inOurs), status(p.sdk, p.inSDK)
			if ours != c.status || (sdk == ours) == (c.exception != "") {
				t.Errorf("status %d, the SDK %d, want %d", ours, sdk, c.status)
			}
		})
	}
}

// mostly draws good in about nine of ten cases, and one of others otherwise.
func mostly(t *rapid.T, label, good string, others ...string) string {
	if !rarely(t, label) {
		return good
	}
	return rapid.SampledFrom(others).Draw(t, label)
}

// randomRequest draws the headers and the body of a POST, usually almost valid. Tools that send requests to the
// client
// are left out, because in a session they wait for the response.
func randomRequest(t *rapid.T, mayBeModern bool) testPost {
	method := rapid.SampledFrom([]string{
		methodCallTool, methodCallTool, methodCallTool, methodCallTool, methodCallTool, methodListTools,
		methodListPrompts, methodListResources,
		methodListTemplates, methodGetPrompt, methodRead, methodComplete, methodSetLevel, methodSubscribe,
		methodUnsubscribe, "ping", "server/discover", "tools/nosuch", "notifications/initialized", "notifications/nosuch",
		"notifications/roots/list_changed",
	}).Draw(t, "method")
	modern := mayBeModern && rapid.Bool().Draw(t, "modern")
	name := mostly(t, "name", targetOf(method), "fail", "report", "headed", "nosuch", "", "doc://x", `a\"b`, "é")
	members := []string{`"jsonrpc":` + mostly(t, "jsonrpc", `"2.0"`, `"1.0"`, `2.0`, `null`)}
	if !strings.HasPrefix(method, notificationPrefix) || rarely(t, "id of a notification") {
		members = append(
			members,
			`"id":`+mostly(t, "id", `7`, `0`, `-1`, `"a"`, `"\u0061"`, `""`, `1.5`, `1e3`, `null`,
				`true`, `{}`, `9007199254740991`, `9007199254740993`, `18446744073709551616`),
		)
	}
	members = append(
		members,
		`"method":`+mostly(t, "encoded method", quoted(method), quoted(strings.ToUpper(method)),
			`7`, `""`, strings.ReplaceAll(quoted(method), "/", `\/`)),
	)
	if !rarely(t, "no params") {
		members = append(
			members,
			`"params":`+mostly(t, "params", randomParams(t, method, name, modern), `null`, `{}`,
				`[]`, `7`, `{"_meta":null}`),
		)
	}
	if rarely(t, "extra") {
		members = append(members, rapid.SampledFrom([]string{
			`"result":{}`, `"error":{"code":1,"message":"x"}`, `"x":1`, `"id":8`, `"Method":"ping"`,
		}).Draw(t, "extra member"))
	}
	members = rapid.Permutation(members).Draw(t, "order")
	p := testPost{"{" + strings.Join(members, ",") + "}", map[string]string{
		"Accept": mostly(
			t, "Accept", "application/json, text/event-stream", "*/*", "application/json",
			"text/event-stream, application/json;q=0.1", "APPLICATION/JSON,text/*", "application/*, text/html",
			",",
		),
		"Content-Type": mostly(
			t, "Content-Type", "application/json", "application/json; charset=utf-8", "text/plain",
			"Application/JSON",
		),
	}}
	version := "2025-11-25"
	if modern {
		version = modernVersion
	}
	version = mostly(t, "version", version, "", "2025-06-18", "2025-03-26", "2024-11-05", "2099-01-01", "x")
	if version != "" {
		p.header[versionHeader] = version
	}
	if modern || rarely(t, "headers of the other era") {
		p.header[methodHeader] = mostly(t, "Mcp-Method", method, "tools/list", "TOOLS/CALL", "x")
		if modern && targetOf(method) != "" {
			p.header[nameHeader] = mostly(t, "Mcp-Name", name, "greet", "x", "=?base64?Z3JlZXQ=?=", " greet ")
		}
	}
	if rarely(t, "Last-Event-ID") {
		p.header[lastEventHeader] = "1_0"
	}
	for name, value := range p.header { // net/http sends no others
		p.header[name] = strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return -1
			}
			return r
		}, value)
	}
	return p
}

// targetOf returns a name or URI that the method finds in the catalog of plentiful.
func targetOf(method string) string {
	switch method {
	case methodCallTool:
		return "greet"
	case methodGetPrompt:
		return "plan"
	case methodRead, methodSubscribe, methodUnsubscribe:
		return "doc://a"
	}
	return ""
}

func randomParams(t *rapid.T, method, name string, modern bool) string {
	var members []string
	if targetOf(method) != "" {
		member := "name"
		if targetOf(method) == "doc://a" {
			member = "uri"
		}
		members = append(
			members, mostly(t, "target", fmt.Sprintf(`%q:"%s"`, member, name), `"name":7`, `"uri":null`, `"x":1`),
		)
	}
	switch method {
	case methodCallTool:
		arguments, err := json.Marshal(rapid.MapOfN(rapid.SampledFrom([]string{"name", "Name", "x", ""}),
			rapid.OneOf(rapid.Just[any]("Ada"), rapid.Map(rapid.Int(), func(n int) any { return n }),
				rapid.Just[any](nil), rapid.Just[any]([]any{1, "x"})), 0, 3).Draw(t, "arguments"))
		if err != nil {
			t.Fatal(err)
		}
		members = append(
			members,
			`"arguments":`+mostly(t, "arguments or not", string(arguments), `null`, `[]`, `7`,
				`{"name":"Ada","name":"Eve"}`, `{"name":"\ud800"}`, `{"name":"Ada"}`, `{"name":1e400}`),
		)
	case methodGetPrompt:
		members = append(
			members, `"arguments":`+mostly(t, "prompt arguments", `{}`, `{"a":"b"}`, `{"a":7}`, `null`),
		)
	case methodComplete:
		members = append(members, mostly(t, "ref", `"ref":{"type":"ref/prompt","name":"plan"}`,
			`"ref":{"type":"ref/resource","uri":"doc://a"}`, `"ref":7`, `"ref":{"type":"x"}`),
			`"argument":{"name":"a","value":"b"}`)
	case methodSetLevel:
		members = append(members, `"level":`+mostly(t, "level", `"info"`, `"x"`, `7`))
	case methodListTools, methodListPrompts:
		members = append(members, `"cursor":`+mostly(t, "cursor", `null`, `""`, `"x"`, `7`))
	}
	if modern {
		members = append(members, mostly(t, "_meta", plainMeta,
			`"_meta":{}`, `"_meta":7`, strings.Replace(plainMeta, modernVersion, "2025-11-25", 1),
			strings.Replace(plainMeta, modernVersion, "2099-01-01", 1),
			strings.Replace(plainMeta, `"io.modelcontextprotocol/clientCapabilities":{}`, `"x":1`, 1),
			strings.Replace(plainMeta, `:{}`, `:7`, 1),
			strings.Replace(plainMeta, `{"io`, `{"progressToken":"p","io`, 1)))
	} else if rarely(t, "with _meta") {
		members = append(members, rapid.SampledFrom([]string{
			`"_meta":{}`, `"_meta":{"progressToken":1}`, `"_meta":null`, `"_meta":7`, plainMeta,
		}).Draw(t, "_meta of the older era"))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}
