package mcphttp

import (
	"bytes"
	"math/rand/v2"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	segmentio "github.com/segmentio/encoding/json"
)

func TestParseMessage_ReadsTheOperation(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want operation
		meta bool
	}{
		"a call names its tool": {
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet"}}`,
			operation{"tools/call", "greet", nil}, false,
		},
		"members in any order": {
			`{"params":{"arguments":{"name":"x"},"name":"greet"},"method":"tools/call"}`,
			operation{"tools/call", "greet", nil}, false,
		},
		"the version in _meta": {
			`{"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
			operation{"tools/list", "", nil}, true,
		},
		"no params":               {`{"jsonrpc":"2.0","id":1,"method":"ping"}`, operation{"ping", "", nil}, false},
		"an answer of the client": {`{"jsonrpc":"2.0","id":1,"result":{}}`, operation{"", "", nil}, false},
		"a prompt is named": {
			`{"method":"prompts/get","params":{"name":"plan"}}`, operation{"prompts/get", "plan", nil}, false,
		},
		"a resource is named by its URI": {
			`{"method":"resources/read","params":{"name":"x","uri":"doc://a"}}`,
			operation{"resources/read", "doc://a", nil}, false,
		},
		"what a subscription listens to": {
			`{"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["doc://a","doc://b"]}}}`,
			operation{"subscriptions/listen", "", []string{"doc://a", "doc://b"}}, false,
		},
		"what a completion completes": {
			`{"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"plan"}}}`,
			operation{"completion/complete", "plan", []string{""}}, false,
		},
		"a name elsewhere means nothing": {
			`{"method":"tools/list","params":{"name":"greet"}}`, operation{"tools/list", "", nil}, false,
		},
		"leading white space": {"\r\n\t " + `{"method":"ping"}`, operation{"ping", "", nil}, false},
		"a tool's arguments are not params": {
			`{"method":"tools/call","params":{"name":"greet","arguments":{"name":"server_stats","Name":"x","name2":"y"}}}`,
			operation{"tools/call", "greet", nil}, false,
		},
		"an escaped name": {
			`{"method":"tools\/call","params":{"name":"gr\u0065et"}}`,
			operation{"tools/call", "greet", nil}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, rpcErr := parseMessage([]byte(c.body))
			if rpcErr != nil {
				t.Fatal("refused")
			}
			if !reflect.DeepEqual(got.operation, c.want) || (got.version != nil) != c.meta {
				t.Errorf("got %+v with version %v, want %+v with %v", got.operation, got.version != nil, c.want, c.meta)
			}
		})
	}
}

// RS-23: what two parsers could read differently is rejected before either acts on it.
func TestParseMessage_RejectsWhatTwoParsersCouldReadDifferently(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		code string
	}{
		"a batch":                    {`[{"method":"tools/call","params":{"name":"server_stats"}}]`, "-32600"},
		"a batch behind white space": {"\n [{}]", "-32600"},
		"a member twice":             {`{"method":"tools/call","method":"tools/list","params":{"name":"greet"}}`, "-32700"},
		"the name twice":             {`{"method":"tools/call","params":{"name":"greet","name":"server_stats"}}`, "-32602"},
		"the method in another case": {
			`{"method":"tools/call","Method":"tools/list","params":{"name":"greet"}}`, "-32700",
		},
		"params in another case": {
			`{"method":"tools/call","params":{"name":"greet"},"Params":{"name":"server_stats"}}`, "-32700",
		},
		"the name in another case": {
			`{"method":"tools/call","params":{"name":"greet","Name":"server_stats"}}`, "-32602",
		},
		"two documents":           {`{"method":"ping"}{"method":"tools/call"}`, "-32700"},
		"nothing":                 {``, "-32700"},
		"null":                    {`null`, "-32700"},
		"a number":                {`7`, "-32700"},
		"half a message":          {`{"method":"tools/call"`, "-32700"},
		"a method that is a list": {`{"method":["tools/call"]}`, "-32600"},
		"params that are a list":  {`{"method":"tools/call","params":["greet"]}`, "-32602"},
		"a name that is a number": {`{"method":"tools/call","params":{"name":1}}`, "-32602"},
		"arguments in another case": {
			`{"method":"tools/call","params":{"name":"greet","arguments":{},"Arguments":{"x":1}}}`, "-32602",
		},
		"the type of a ref in another case": {
			`{"method":"completion/complete","params":{"ref":{"type":"ref/prompt","Type":"ref/resource","name":"a",` +
				`"uri":"doc://a"}}}`,
			"-32602",
		},
		"a subscription twice": {
			`{"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":[],` +
				`"resourceSubscriptions":["doc://a"]}}}`,
			"-32602",
		},
		"a subscription in another case": {
			`{"method":"subscriptions/listen","params":{"notifications":{"ResourceSubscriptions":["doc://a"]}}}`,
			"-32602",
		},
		"a call without params":    {`{"method":"tools/call"}`, "-32602"},
		"a call without a name":    {`{"method":"tools/call","params":{}}`, "-32602"},
		"_meta that is text":       {`{"method":"ping","params":{"_meta":"x"}}`, "-32602"},
		"a NUL behind the message": {"{\"method\":\"ping\"}\x00", "-32700"},
		"five thousand levels":     {strings.Repeat(`{"a":`, 5_000) + "1" + strings.Repeat("}", 5_000), "-32700"},
		"five thousand levels inside": {
			`{"method":"ping","params":` + strings.Repeat(`[`, 5_000) + strings.Repeat("]", 5_000) + "}", "-32",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, rpcErr := parseMessage([]byte(c.body))
			if rpcErr == nil {
				t.Fatal("accepted")
			}
			w := httptest.NewRecorder()
			rpcErr.write(w)
			if w.Code != 400 || !strings.Contains(w.Body.String(), c.code) {
				t.Errorf("answered %d %s, want 400 with %s", w.Code, w.Body, c.code)
			}
		})
	}
}

// FuzzParseMessage compares the operation that parseMessage reads with the one that the SDK reads and dispatches.
func FuzzParseMessage(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet",` +
			`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
		`[{}]`, `{"method":"a","method":"b"}`, `{"method":null,"params":null}`, "{\"method\":\"\x00\"}",
		`{"params":{"_meta":{}}}`, "\xff",
		`{"jsonrpc":"2.0","id":"a","method":"completion/complete","params":{"ref":{"type":"ref/resource",` +
			`"uri":"doc://a"},"argument":{"name":"x","value":""}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen",` +
			`"params":{"notifications":{"resourceSubscriptions":["doc://a"]}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) { parsesLikeTheSDK(t, body) })
}

// parsesLikeTheSDK reports whether both accept the message, and fails if they read different ones.
func parsesLikeTheSDK(t *testing.T, body []byte) bool {
	m, rpcErr := parseMessage(body)
	decoded, err := jsonrpc.DecodeMessage(body)
	theirs, isRequest := decoded.(*jsonrpc.Request)
	if rpcErr != nil || err != nil || !isRequest {
		return false
	}
	if theirs.Method != m.method || !bytes.Equal(theirs.Params, m.params) {
		t.Fatalf("%q: %q with %q, the SDK reads %q with %q", body, m.method, m.params, theirs.Method, theirs.Params)
	}
	if id, plain := parsePlainID(m.id); plain && m.isRequest && id != theirs.ID {
		t.Fatalf("%q: the id is %v, the SDK reads %v", body, id, theirs.ID)
	}
	request, into := sdkRequest(m.method)
	if request == nil || len(theirs.Params) == 0 {
		return false
	}
	decoder := segmentio.NewDecoder(bytes.NewReader(theirs.Params)) // as the SDK's own does
	decoder.DontMatchCaseInsensitiveStructFields()
	if decoder.Decode(into) != nil {
		return false
	}
	if op := operationOf(m.method, request); op.name != m.name || !slices.Equal(op.more, m.more) {
		t.Fatalf("%q: it is about %q and %q, the SDK reads %q and %q", body, m.name, m.more, op.name, op.more)
	}
	return true
}

// sdkRequest makes the SDK's request for a method, and also returns its params.
func sdkRequest(method string) (request mcp.Request, params any) {
	switch method {
	case methodCallTool:
		return newSDKRequest(new(mcp.CallToolParamsRaw))
	case methodGetPrompt:
		return newSDKRequest(new(mcp.GetPromptParams))
	case methodRead:
		return newSDKRequest(new(mcp.ReadResourceParams))
	case methodSubscribe:
		return newSDKRequest(new(mcp.SubscribeParams))
	case methodComplete:
		return newSDKRequest(new(mcp.CompleteParams))
	case methodListen:
		return newSDKRequest(new(mcp.SubscriptionsListenParams))
	}
	return nil, nil
}

func newSDKRequest[P mcp.Params](params P) (mcp.Request, any) {
	return &mcp.ServerRequest[P]{Params: params}, params
}

// Messages are made of what parsers have disagreed about: escapes, lone surrogates, invalid UTF-8, null, names that
// are
// repeated or in another case.
func TestParseMessage_ReadsMessagesAsTheSDK(t *testing.T) {
	names := []string{
		`"method"`, `"params"`, `"name"`, `"uri"`, `"_meta"`, `"ref"`, `"notifications"`, `"resourceSubscriptions"`,
		`"type"`, `"id"`, `"jsonrpc"`, `"result"`, `"error"`, `"arguments"`,
		`"\u006dethod"`, `"na\u006de"`, `"par\u0061ms"`, `"name\u0000"`, "\"param\u017f\"", "\"re\u017fult\"",
		`"PARAMS"`, `"Name"`, "\"name\xff\"", `"\ud800name"`, `"noti\u0066ications"`,
	}
	methods := []string{
		`"tools/call"`, `"tools\/call"`, `"prompts/get"`, `"resources/read"`, `"resources/subscribe"`,
		`"completion/complete"`, `"subscriptions/listen"`, `"ping"`,
	}
	kinds := []string{`"ref/prompt"`, `"ref/resource"`}
	texts := slices.Concat(methods, kinds, []string{
		`"greet"`, `"gr\u0065et"`, `"doc://a"`, `"2.0"`, `""`, `null`, `1`, `true`, `[]`, `["a",null]`, `{}`,
		`{"name":"x"}`, "\"\u00e9\"", "\"\u00e9\\u0041\"", `"a\ud800"`, `"\ud800\u0041"`, `"\ud83d\ude00"`,
		`"\ude00\ud83d"`, "\"a\xff\"", "\"\xc3\"", "\"\xed\xa0\x80\"",
	})
	one := func(of []string) string { return of[rand.IntN(len(of))] }
	object := func(members ...string) string {
		if rand.IntN(2) == 0 {
			members = append(members, one(names)+":"+one(texts))
		}
		rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		return "{" + strings.Join(members, ",") + "}"
	}
	both := 0
	for range 10_000 {
		ref := object(`"type":`+one(kinds), one([]string{`"name":`, `"uri":`})+one(texts))
		notifications := object(`"resourceSubscriptions":[` + one(texts) + "," + one(texts) + "]")
		params := object(
			one([]string{`"name":`, `"na\u006de":`})+one(texts), `"uri":`+one(texts), `"ref":`+ref,
			`"notifications":`+notifications,
		)
		if parsesLikeTheSDK(
			t,
			[]byte(
				object(`"jsonrpc":"2.0"`, `"id":`+one(texts), `"method":`+one(methods), `"params":`+params),
			),
		) {
			both++
		}
	}
	if both < 500 {
		t.Errorf("both took only %d of the messages: that says too little", both)
	}
}
