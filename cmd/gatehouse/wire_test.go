package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"golang.org/x/oauth2"
)

// clientMeta is the _meta of a request of 2026-07-28.
const clientMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
	`"io.modelcontextprotocol/clientCapabilities":{},` +
	`"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}`

// initializeBody opens a session of 2025-11-25.
const initializeBody = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
	`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

const initializedBody = `{"jsonrpc":"2.0","method":"notifications/initialized"}`

// request is one HTTP request. Headers that are set to "" are left out.
type request struct {
	method string // default POST
	header map[string]string
	body   string
}

// modernRequest is a valid request of 2026-07-28. params are the members of the object, or "".
func modernRequest(method, params string) request {
	if params != "" {
		params += ","
	}
	return request{
		header: map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": method},
		body:   fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{%s%s}}`, method, params, clientMeta),
	}
}

// with returns a copy of r with these headers: name, value, name, value.
func (r request) with(pairs ...string) request {
	header := maps.Clone(r.header)
	if header == nil {
		header = map[string]string{}
	}
	for i := 0; i < len(pairs); i += 2 {
		header[pairs[i]] = pairs[i+1]
	}
	r.header = header
	return r
}

// withBody returns a copy of r with the first old in its body replaced by new.
func (r request) withBody(old, new string) request {
	r.body = strings.Replace(r.body, old, new, 1)
	return r
}

func (r request) send(t *testing.T, srv *testServer, token string) response {
	t.Helper()
	method := r.method
	if method == "" {
		method = http.MethodPost
	}
	return send(t, method, srv.url, token, r.body, r.header)
}

// response is the response to one request, with the complete body.
type response struct {
	status int
	header http.Header
	body   string
}

// rpc returns the first JSON-RPC message in the response, which is JSON or an event stream.
func (r response) rpc(t testing.TB) map[string]any {
	t.Helper()
	text := r.body
	if strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") {
		lines := bufio.NewScanner(strings.NewReader(r.body))
		lines.Buffer(nil, 1<<20)
		text = ""
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && data != "" {
				text = data
				break
			}
		}
	}
	var message map[string]any
	if err := json.Unmarshal([]byte(text), &message); err != nil {
		t.Fatalf("the response is not JSON-RPC: %d %q", r.status, r.body)
	}
	return message
}

// structuredContent returns the structured content of the tool result in r.
func structuredContent(t testing.TB, r response) map[string]any {
	t.Helper()
	result, _ := r.rpc(t)["result"].(map[string]any)
	content, ok := result["structuredContent"].(map[string]any)
	if !ok {
		t.Fatalf("no structured content in %d %s", r.status, r.body)
	}
	return content
}

// send makes one request as a client would, on a connection of its own.
func send(t testing.TB, method, address, token, body string, header map[string]string) response {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, resp.Header, string(content)}
}

// callModern is a tools/call of 2026-07-28.
func callModern(name, arguments string) (body string, header map[string]string) {
	r := modernRequest("tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, name, arguments)).with("Mcp-Name", name)
	return r.body, r.header
}

// callLegacy is a tools/call of 2025-11-25, in a session if there is one.
func callLegacy(name, arguments, session string) (body string, header map[string]string) {
	header = map[string]string{"Mcp-Protocol-Version": "2025-11-25"}
	if session != "" {
		header["Mcp-Session-Id"] = session
	}
	params := fmt.Sprintf(`{"name":%q,"arguments":%s}`, name, arguments)
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`, header
}

// openSession performs the handshake of 2025-11-25 and returns the session ID.
func (srv *testServer) openSession(t testing.TB, token string) string {
	t.Helper()
	r := send(t, http.MethodPost, srv.url, token, initializeBody, nil)
	id := r.header.Get("Mcp-Session-Id")
	if r.status != http.StatusOK || id == "" {
		t.Fatalf("initialize: %d %q %s", r.status, id, r.body)
	}
	header := map[string]string{"Mcp-Session-Id": id, "Mcp-Protocol-Version": "2025-11-25"}
	if r = send(t, http.MethodPost, srv.url, token, initializedBody, header); r.status != http.StatusAccepted {
		t.Fatalf("notifications/initialized: %d %s", r.status, r.body)
	}
	return id
}

// token signs name in at the local issuer, and returns an access token with exactly these scopes.
func (srv *testServer) token(t testing.TB, name string, scopes ...string) string {
	t.Helper()
	config := &oauth2.Config{
		ClientID: "local-cli", RedirectURL: redirectURI, Scopes: scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL: srv.origin() + "/authorize", TokenURL: srv.origin() + "/token", AuthStyle: oauth2.AuthStyleInParams,
		},
	}
	verifier, resource := oauth2.GenerateVerifier(), oauth2.SetAuthURLParam("resource", srv.url)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	u := &user{name: name, decision: "approve"}
	result, err := u.signIn(ctx, &auth.AuthorizationArgs{
		URL: config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), resource),
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := config.Exchange(ctx, result.Code, oauth2.VerifierOption(verifier), resource)
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}
