package mcphttp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
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

// The operator ends a relayed call at once, whether or not its handler returns. The client keeps its connection, and
// can use it when the handler has returned.
func TestRelayCall_EndsAtOnce(t *testing.T) {
	for _, keepalive := range []time.Duration{0, often} {
		begun, ended, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
		far := relayed("far", nil,
			func(ctx context.Context, _ *mcp.CallToolRequest, _ json.RawMessage) (*mcptools.Verbatim, error) {
				close(begun)
				<-ctx.Done()
				close(ended)
				<-goOn
				return &mcptools.Verbatim{JSON: json.RawMessage(`{}`)}, nil
			})
		denier, results := &denyTokens{}, &resultRecorder{}
		h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{far, whoami()}}, withKeepalive(keepalive),
			func(cfg *Config) { cfg.Denier, cfg.Recorder = denier, results })
		url := serveTokens(t, h)
		goOnce := sync.OnceFunc(func() { close(goOn) })
		t.Cleanup(goOnce)
		client := &http.Client{Transport: withToken{&http.Transport{MaxConnsPerHost: 1}}, Timeout: 10 * time.Second}
		t.Cleanup(client.CloseIdleConnections)
		go func() {
			<-begun
			time.Sleep(5 * keepalive)
			denier.deny(h, "t-1")
		}()
		resp, err := client.Do(modernCall("far", "{}").to(url))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		in, got := bufio.NewReader(resp.Body), answer{status: resp.StatusCode, header: resp.Header}
		comments := 0
		if keepalive == 0 {
			text, err := io.ReadAll(in) // the response has an end, although its handler runs
			got.body, got.err = string(text), err
		} else {
			for !strings.HasPrefix(got.body, "data: ") && got.err == nil {
				got.body, got.err = in.ReadString('\n')
				comments += strings.Count(got.body, "keepalive")
			}
		}
		checkEndedCall(t, got, "7")
		if keepalive > 0 && comments < 2 {
			t.Errorf("there were %d comments before the response", comments)
		}
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Fatal("the context of the handler goes on")
		}
		time.Sleep(2 * keepalive)
		if keepalive > 0 { // otherwise the next request does not wait for the handler
			goOnce()
		}
		if rest, err := io.ReadAll(in); strings.TrimSpace(string(rest)) != "" || err != nil {
			t.Errorf("after the response: %q %v", rest, err)
		}
		if r := results.await(t); r.Outcome != OutcomeCanceled || r.Reason != testReason {
			t.Errorf("recorded is %+v", r)
		}
		next, err := client.Do(modernCall("whoami", "{}").with(asToken, "t-2").to(url))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(next.Body); !strings.Contains(string(text), "alice") || err != nil {
			t.Errorf("the next response: %s %v", text, err)
		}
		next.Body.Close()
		goOnce()
		awaitNone(t, h)
	}
}

// The operator may end a call when its request is just over. The writer must not be used then: net/http reuses it.
func TestRelayCall_EndedWhenItsRequestIsOver(t *testing.T) {
	for name, hangsUp := range map[string]bool{"it is answered": false, "its client hung up": true} {
		var inFlight *exchange
		var h *Handler
		ctx, hangUp := context.WithCancel(t.Context())
		far := relayed("far", nil,
			func(context.Context, *mcp.CallToolRequest, json.RawMessage) (*mcptools.Verbatim, error) {
				for one := range h.open.all {
					inFlight = one.(*exchange)
				}
				if hangsUp {
					hangUp()
				}
				return &mcptools.Verbatim{JSON: json.RawMessage(`{}`)}, nil
			})
		h = handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{far}}, func(cfg *Config) { cfg.Denier = &denyTokens{} })
		w := httptest.NewRecorder()
		serveAsAlice(h, w, modernCall("far", "{}").request().WithContext(ctx))
		hangUp()
		before := w.Body.String()
		inFlight.finishEarly(ctx)
		if got := w.Body.String(); got != before || (got == "") != hangsUp || w.Header().Get("Content-Length") != "" {
			t.Errorf("%s: %v %s", name, w.Header(), got)
		}
	}
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
