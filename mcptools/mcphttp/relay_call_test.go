package mcphttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// What the SDK refuses for a tool of this server, it refuses for a relayed one, with the same words.
func TestRelayCall_SDKRefusesTheSame(t *testing.T) {
	far, _ := relayEcho()
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{far, whoami()}})
	url := serve(t, h, time.Now().Add(time.Hour))
	const capabilities = `"io.modelcontextprotocol/clientCapabilities":{}`
	const client = capabilities + `,"io.modelcontextprotocol/clientInfo":`
	for name, change := range map[string][2]string{
		"nothing":                           {"", ""},
		"no capabilities":                   {"," + capabilities, ""},
		"capabilities of another type":      {capabilities, strings.Replace(capabilities, "{}", "[]", 1)},
		"capabilities that are null":        {capabilities, strings.Replace(capabilities, "{}", "null", 1)},
		"a client that is null":             {capabilities, client + `null`},
		"a capability of another type":      {capabilities, strings.Replace(capabilities, "{}", `{"elicitation":5}`, 1)},
		"a client of another type":          {capabilities, client + `5`},
		"a client without a name":           {capabilities, client + `{}`},
		"a name of another type":            {capabilities, client + `{"name":1}`},
		"input responses of another type":   {`"arguments":{}`, `"arguments":{},"inputResponses":[]`},
		"a request state of another type":   {`"arguments":{}`, `"arguments":{},"requestState":{}`},
		"arguments of any type":             {`"arguments":{}`, `"arguments":[1]`},
		"a log level of another type":       {capabilities, capabilities + `,"io.modelcontextprotocol/logLevel":5`},
		"a progress token of another type":  {capabilities, capabilities + `,"progressToken":{}`},
		"a member that is in two spellings": {capabilities, capabilities + `,"ProgressToken":1`},
	} {
		respond := func(tool string) (status int, fault string) {
			post := modernCall(tool, "{}").replaced(change[0], change[1])
			resp, body := responseBody(t, url, post)
			var response struct{ Error json.RawMessage }
			if err := json.Unmarshal([]byte(body), &response); err != nil {
				t.Fatalf("%s: %s", name, body)
			}
			return resp.StatusCode, string(response.Error)
		}
		if name == "arguments of any type" { // of a tool of this server, they are validated
			if status, fault := respond("far"); status != 200 || fault != "" {
				t.Errorf("%s: %d %s", name, status, fault)
			}
			continue
		}
		status, fault := respond("far")
		if wantStatus, want := respond("whoami"); status != wantStatus || fault != want {
			t.Errorf("%s: %d %s, not %d %s", name, status, fault, wantStatus, want)
		}
	}
}

// A response has the same bytes whether or not the call passed through the SDK's server.
func TestRelayCall_RespondsAsTheSDK(t *testing.T) {
	results := map[string]func() (*mcptools.Verbatim, error){
		"blanks": func() (*mcptools.Verbatim, error) {
			return &mcptools.Verbatim{JSON: json.RawMessage("{ \"content\" : [ ] ,\r\n\t\"x\":\"a  b\" }")}, nil
		},
		"characters of HTML": func() (*mcptools.Verbatim, error) {
			return &mcptools.Verbatim{JSON: json.RawMessage(verbatim)}, nil
		},
		"an error of JSON-RPC": func() (*mcptools.Verbatim, error) {
			return nil, &jsonrpc.Error{Code: -32011, Message: "<no>"}
		},
		"an error with a status": func() (*mcptools.Verbatim, error) {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "no"}
		},
		"another error": func() (*mcptools.Verbatim, error) { return nil, errors.New("plain") },
	}
	for name, result := range results {
		tool := relayed("far", nil,
			func(context.Context, *mcp.CallToolRequest, json.RawMessage) (*mcptools.Verbatim, error) {
				return result()
			})
		url := serve(t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{tool}}), time.Now().Add(time.Hour))
		direct, got := responseBody(t, url, modernCall("far", "{}"))
		bySDK, want := responseBody(t, url, modernCall("far", "{}").replaced(`"id":7`, `"id":7.0`))
		if got != want || direct.StatusCode != bySDK.StatusCode {
			t.Errorf("%s: %d %s, not %d %s", name, direct.StatusCode, got, bySDK.StatusCode, want)
		}
	}
}

// The progress that a client asked for is written as the SDK writes it.
func TestRelayCall_ProgressAsTheSDK(t *testing.T) {
	tool := relayed("far", nil,
		func(ctx context.Context, req *mcp.CallToolRequest, _ json.RawMessage) (*mcptools.Verbatim, error) {
			err := mcptools.NotifyProgress(ctx, req, &mcp.ProgressNotificationParams{
				ProgressToken: req.Params.GetProgressToken(), Progress: 0.1, Total: 1e21, Message: "<é>",
			})
			return &mcptools.Verbatim{JSON: json.RawMessage(`{}`)}, err
		})
	url := serve(t, handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{tool}}), time.Now().Add(time.Hour))
	for _, token := range []string{`"t"`, `7`, `9007199254740991`, `1.5`} {
		call := modernCall("far", "{}").replaced(`"_meta":{`, `"_meta":{"progressToken":`+token+`,`)
		_, got := responseBody(t, url, call)
		_, want := responseBody(t, url, call.replaced(`"id":7`, `"id":7.0`))
		if got != want || !strings.Contains(got, "notifications/progress") {
			t.Errorf("%s:\n%s, not\n%s", token, got, want)
		}
	}
}

// The operator ends a relayed call at once, whether or not its handler returns.
func TestRelayCall_EndsAtOnce(t *testing.T) {
	begun, ended, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
	tool := relayed("far", nil,
		func(ctx context.Context, _ *mcp.CallToolRequest, _ json.RawMessage) (*mcptools.Verbatim, error) {
			close(begun)
			<-ctx.Done()
			close(ended)
			<-goOn
			return &mcptools.Verbatim{JSON: json.RawMessage(`{}`)}, nil
		})
	denier := &denyTokens{}
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{tool}}, func(cfg *Config) { cfg.Denier = denier })
	url := serveTokens(t, h)
	goOnce := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(goOnce)
	answered := send(url, modernCall("far", "{}"))
	<-begun
	denier.deny(h, "t-1")
	checkEndedCall(t, <-answered, "7")
	<-ended
	goOnce()
	awaitNone(t, h)
}

// A relayed call makes less garbage than one of the four buffers in which the SDK would decode its params.
func TestRelayCall_Allocates(t *testing.T) {
	far, _ := relayEcho()
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{far}})
	const n = 200
	measure := func(post testPost) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			w := httptest.NewRecorder()
			if serveAsAlice(h, w, post.request()); !strings.Contains(w.Body.String(), verbatim) {
				t.Fatal(w.Body)
			}
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / n
	}
	if got := measure(modernCall("far", "{}")); got > 32<<10 {
		t.Errorf("a call allocates %d bytes", got)
	}
}
