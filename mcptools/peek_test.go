package mcptools

import (
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

func TestPeekKnowsWhatAMessageAsksFor(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want operation
		meta bool
	}{
		"a call names its tool":             {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet"}}`, operation{"tools/call", "greet", nil}, false},
		"members in any order":              {`{"params":{"arguments":{"name":"x"},"name":"greet"},"method":"tools/call"}`, operation{"tools/call", "greet", nil}, false},
		"the version in _meta":              {`{"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, operation{"tools/list", "", nil}, true},
		"no params":                         {`{"jsonrpc":"2.0","id":1,"method":"ping"}`, operation{"ping", "", nil}, false},
		"an answer of the client":           {`{"jsonrpc":"2.0","id":1,"result":{}}`, operation{"", "", nil}, false},
		"a prompt is named":                 {`{"method":"prompts/get","params":{"name":"plan"}}`, operation{"prompts/get", "plan", nil}, false},
		"a resource is named by its URI":    {`{"method":"resources/read","params":{"name":"x","uri":"doc://a"}}`, operation{"resources/read", "doc://a", nil}, false},
		"what a subscription listens to":    {`{"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["doc://a","doc://b"]}}}`, operation{"subscriptions/listen", "", []string{"doc://a", "doc://b"}}, false},
		"what a completion completes":       {`{"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"plan"}}}`, operation{"completion/complete", "plan", []string{""}}, false},
		"a name elsewhere means nothing":    {`{"method":"tools/list","params":{"name":"greet"}}`, operation{"tools/list", "", nil}, false},
		"leading white space":               {"\r\n\t " + `{"method":"ping"}`, operation{"ping", "", nil}, false},
		"a tool's arguments are not params": {`{"method":"tools/call","params":{"name":"greet","arguments":{"name":"server_stats","Name":"x","name2":"y"}}}`, operation{"tools/call", "greet", nil}, false},
		"an escaped name":                   {`{"method":"tools\/call","params":{"name":"gr\u0065et"}}`, operation{"tools/call", "greet", nil}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, refusal := peek([]byte(c.body))
			if refusal != nil {
				t.Fatal("refused")
			}
			if !reflect.DeepEqual(got.operation, c.want) || (got.version != nil) != c.meta {
				t.Errorf("got %+v with version %v, want %+v with %v", got.operation, got.version != nil, c.want, c.meta)
			}
		})
	}
}

// RS-23: what two parsers could read differently is refused before either acts on it.
func TestPeekRefusesWhatTwoParsersCouldReadDifferently(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		code string
	}{
		"a batch":                          {`[{"method":"tools/call","params":{"name":"server_stats"}}]`, "-32600"},
		"a batch behind white space":       {"\n [{}]", "-32600"},
		"a member twice":                   {`{"method":"tools/call","method":"tools/list","params":{"name":"greet"}}`, "-32700"},
		"the name twice":                   {`{"method":"tools/call","params":{"name":"greet","name":"server_stats"}}`, "-32602"},
		"the method in another case":       {`{"method":"tools/call","Method":"tools/list","params":{"name":"greet"}}`, "-32700"},
		"params in another case":           {`{"method":"tools/call","params":{"name":"greet"},"Params":{"name":"server_stats"}}`, "-32700"},
		"the name in another case":         {`{"method":"tools/call","params":{"name":"greet","Name":"server_stats"}}`, "-32602"},
		"two documents":                    {`{"method":"ping"}{"method":"tools/call"}`, "-32700"},
		"nothing":                          {``, "-32700"},
		"null":                             {`null`, "-32700"},
		"a number":                         {`7`, "-32700"},
		"half a message":                   {`{"method":"tools/call"`, "-32700"},
		"a method that is a list":          {`{"method":["tools/call"]}`, "-32600"},
		"params that are a list":           {`{"method":"tools/call","params":["greet"]}`, "-32602"},
		"a name that is a number":          {`{"method":"tools/call","params":{"name":1}}`, "-32602"},
		"a subscription twice":             {`{"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":[],"resourceSubscriptions":["doc://a"]}}}`, "-32602"},
		"a subscription in another case":   {`{"method":"subscriptions/listen","params":{"notifications":{"ResourceSubscriptions":["doc://a"]}}}`, "-32602"},
		"a call without params":            {`{"method":"tools/call"}`, "-32602"},
		"a call without a name":            {`{"method":"tools/call","params":{}}`, "-32602"},
		"_meta that is text":               {`{"method":"ping","params":{"_meta":"x"}}`, "-32602"},
		"a NUL behind the message":         {"{\"method\":\"ping\"}\x00", "-32700"},
		"a hundred thousand levels":        {strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000), "-32700"},
		"a hundred thousand levels inside": {`{"method":"ping","params":` + strings.Repeat(`[`, 100_000) + strings.Repeat("]", 100_000) + "}", "-32"},
	} {
		t.Run(name, func(t *testing.T) {
			_, refusal := peek([]byte(c.body))
			if refusal == nil {
				t.Fatal("accepted")
			}
			w := httptest.NewRecorder()
			refusal.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
			if w.Code != 400 || !strings.Contains(w.Body.String(), c.code) {
				t.Errorf("answered %d %s, want 400 with %s", w.Code, w.Body, c.code)
			}
		})
	}
}

func FuzzPeek(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
		`[{}]`, `{"method":"a","method":"b"}`, `{"method":null,"params":null}`, "{\"method\":\"\x00\"}", `{"params":{"_meta":{}}}`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, refusal := peek(body)
		if refusal == nil && m.method == methodCallTool && m.name == "" && !strings.Contains(string(body), `""`) {
			t.Errorf("a call without a name was accepted: %q", body)
		}
	})
}
