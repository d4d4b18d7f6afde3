package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"golang.org/x/oauth2"
)

// token signs name in by hand and returns an access token with exactly these scopes.
func (r *running) token(t testing.TB, name string, scopes ...string) string {
	t.Helper()
	config := &oauth2.Config{
		ClientID: "local-cli", RedirectURL: "http://127.0.0.1:17433/callback", Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: r.origin() + "/authorize", TokenURL: r.origin() + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier := oauth2.GenerateVerifier()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p := &person{name: name, decision: "approve"}
	result, err := p.signIn(ctx, &auth.AuthorizationArgs{URL: config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", r.url))})
	if err != nil {
		t.Fatal(err)
	}
	token, err := config.Exchange(ctx, result.Code, oauth2.VerifierOption(verifier), oauth2.SetAuthURLParam("resource", r.url))
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

// answer is what came back from one request.
type answer struct {
	status int
	header http.Header
	body   string
}

// rpc is the first JSON-RPC message in the answer, whether it came as JSON or as an event.
func (a answer) rpc(t testing.TB) map[string]any {
	t.Helper()
	text := a.body
	if strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") {
		lines := bufio.NewScanner(strings.NewReader(a.body))
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
		t.Fatalf("the answer is not JSON-RPC: %d %q", a.status, a.body)
	}
	return message
}

// send makes one request as a client would write it.
func send(t testing.TB, method, address, token, body string, header map[string]string) answer {
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
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(content)}
}

// callModern is a tools/call of 2026-07-28.
func callModern(name, arguments string) (body string, header map[string]string) {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, name, arguments),
		map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": name}
}

// callLegacy is a tools/call of 2025-11-25, in a session if there is one.
func callLegacy(name, arguments, session string) (body string, header map[string]string) {
	header = map[string]string{"Mcp-Protocol-Version": "2025-11-25"}
	if session != "" {
		header["Mcp-Session-Id"] = session
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, name, arguments), header
}

// openSession performs the handshake of 2025-11-25 and returns the session's id.
func (r *running) openSession(t testing.TB, token string) string {
	t.Helper()
	a := send(t, http.MethodPost, r.url, token, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`, nil)
	id := a.header.Get("Mcp-Session-Id")
	if a.status != http.StatusOK || id == "" {
		t.Fatalf("initialize answered %d %q %s", a.status, id, a.body)
	}
	a = send(t, http.MethodPost, r.url, token, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, map[string]string{"Mcp-Session-Id": id, "Mcp-Protocol-Version": "2025-11-25"})
	if a.status != http.StatusAccepted {
		t.Fatalf("notifications/initialized answered %d %s", a.status, a.body)
	}
	return id
}

func structured(t testing.TB, a answer) map[string]any {
	t.Helper()
	result, _ := a.rpc(t)["result"].(map[string]any)
	content, ok := result["structuredContent"].(map[string]any)
	if !ok {
		t.Fatalf("no structured content in %d %s", a.status, a.body)
	}
	return content
}
