package broker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// grant is a sign-in of a person with a client that registered itself.
type grant struct {
	world   *world
	account string
	client  string
	tokens  answer
	kept    *http.Client // for all requests; nil: a new connection for each
}

// answer is an answer of the token endpoint.
type answer struct {
	status     int
	retryAfter string

	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
	Error   string `json:"error"`
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.Error) }

// register registers a client and returns its id.
func (w *world) register(t *testing.T) string {
	t.Helper()
	resp, err := w.via("").Post("http://"+w.front.address+"/register", "application/json",
		strings.NewReader(`{"client_name":"Test client","redirect_uris":["`+redirectURI+`"],`+
			`"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var client struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&client); err != nil || client.ID == "" {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return client.ID
}

// via returns a client whose connections all go to one address; "": to the front.
func (w *world) via(address string) *http.Client {
	transport := &http.Transport{DisableKeepAlives: true}
	if address != "" {
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &recorder{w.seen, transport}}
}

func (g *grant) via(address string) *http.Client {
	if g.kept != nil {
		return g.kept
	}
	return g.world.via(address)
}

// keep uses one connection, to an address, for all requests.
func (g *grant) keep(t *testing.T, address string) {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	g.kept = &http.Client{Timeout: 30 * time.Second, Transport: transport}
}

// signIn signs a person in with a new client, and exchanges the code.
func (w *world) signIn(t *testing.T, account string) *grant {
	t.Helper()
	g := &grant{world: w, account: account, client: w.register(t)}
	g.again(t)
	return g
}

// again signs the person in again with the same client.
func (g *grant) again(t *testing.T) {
	t.Helper()
	origin := "http://" + g.world.front.address
	config := oauth2.Config{ClientID: g.client, RedirectURL: redirectURI,
		Scopes:   []string{"mcp:use", "greet:read", "offline_access"},
		Endpoint: oauth2.Endpoint{AuthURL: origin + "/authorize"}}
	verifier := oauth2.GenerateVerifier()
	g.world.seen.add("verifier of a client", verifier)
	response := mustSignIn(t, g.world.person(g.account), config.AuthCodeURL(oauth2.GenerateVerifier(),
		oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", g.world.resource)))
	a, err := g.post(g.world.via(""), url.Values{"grant_type": {"authorization_code"}, "code": {response.Get("code")},
		"redirect_uri": {redirectURI}, "code_verifier": {verifier}})
	if err != nil || a.status != http.StatusOK || a.Refresh == "" {
		t.Fatalf("the code of %s: %v, %v", g.account, a, err)
	}
	g.tokens = a
}

// refresh uses the refresh token at an address, and keeps the new tokens.
func (g *grant) refresh(address string) (answer, error) {
	a, err := g.post(g.via(address), url.Values{"grant_type": {"refresh_token"},
		"refresh_token": {g.tokens.Refresh}})
	if err == nil && a.status == http.StatusOK {
		g.tokens = a
	}
	return a, err
}

func (g *grant) mustRefresh(t *testing.T, address string) {
	t.Helper()
	if a, err := g.refresh(address); err != nil || a.status != http.StatusOK {
		t.Errorf("the refresh of %s: %v, %v", g.account, a, err)
	}
}

func (g *grant) post(client *http.Client, form url.Values) (answer, error) {
	form.Set("client_id", g.client)
	form.Set("resource", g.world.resource)
	resp, err := client.PostForm("http://"+g.world.front.address+"/token", form)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	g.world.seen.addTokens("of a client", raw)
	a := answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, fmt.Errorf("%s: %q: %w", resp.Status, raw, err)
	}
	return a, nil
}

// call calls a tool with the access token, at an address, and returns the status.
func (g *grant) call(t *testing.T, address string) int {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"},` +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":` +
		`{"name":"raw","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.world.resource, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + g.tokens.Access,
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "greet"} {
		req.Header.Set(name, value)
	}
	resp, err := g.via(address).Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusOK && !strings.Contains(string(raw), "Hello, Ada!") {
		t.Errorf("the tool answers %s", raw)
	}
	return resp.StatusCode
}

// claims returns the claims of an access token.
func claims(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
