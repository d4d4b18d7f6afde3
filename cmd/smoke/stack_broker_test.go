package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func brokerOrigin() string { return "https://localhost:" + port("BROKER_PORT", "8444") }

// upBroker starts the profile broker, and returns a transport that trusts the edge and finds the company's provider,
// whose name only browsers resolve.
func upBroker(t *testing.T) *http.Transport {
	t.Helper()
	up(t, nil, "compose", "--profile", "broker")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	run(t, nil, "compose", "--profile", "broker", "cp", "edge:/data/caddy/pki/authorities/local/root.crt", ca)
	company := port("COMPANY_PORT", "9001")
	network, err := newNetwork([]string{"company.localhost:" + company + "=127.0.0.1:" + company}, ca)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.CloseIdleConnections)
	return network
}

func TestStackSmokeContainerSignsInThroughTheBroker(t *testing.T) {
	needEngine(t)
	upBroker(t)
	stdout, stderr, code, err := docker(nil, "compose", "--profile", "broker", "run", "--rm", "--no-TTY", "smoke-broker")
	if err != nil || code != 0 || !strings.Contains(stdout, `"issuer":"`+brokerOrigin()+`"`) {
		t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
}

// refreshed sends a refresh token, and returns its successor.
func refreshed(t *testing.T, network http.RoundTripper, client, token string) (next string, status int, body string) {
	t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {client}}
	web := &http.Client{Transport: network, Timeout: 20 * time.Second}
	resp, err := web.PostForm(brokerOrigin()+"/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var tokens struct {
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal(answer, &tokens) // an error has no token
	return tokens.RefreshToken, resp.StatusCode, string(answer)
}

// A sign-in is known to both replicas, and outlives each of them and the store.
func TestStackBrokerKeepsSignIns(t *testing.T) {
	needEngine(t)
	network := upBroker(t)
	c, session := connect(t, brokerOrigin()+"/mcp", "", network, nil)
	me, err := call(t.Context(), session, "whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	client, _ := me["client"].(string)
	if me["issuer"] != brokerOrigin() || me["subject"] != "alice" || client == "" {
		t.Fatalf("the server identifies the caller as %v", me)
	}
	source, err := c.oauth.TokenSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := source.Token()
	if err != nil || tokens.RefreshToken == "" {
		t.Fatalf("there is no refresh token: %v", err)
	}
	current := tokens.RefreshToken
	refresh := func(when string) {
		t.Helper()
		next, status, body := refreshed(t, network, client, current)
		if status != http.StatusOK || next == "" || next == current {
			t.Fatalf("%s: status %d: %s", when, status, body)
		}
		current = next
	}
	for range 16 {
		refresh("with both replicas")
	}
	for _, replica := range containers(t, "broker") {
		log, more, _, _ := docker(nil, "logs", replica)
		if !strings.Contains(log+more, "path=/token") {
			t.Error("a replica served no refresh")
		}
	}
	victim := containers(t, "broker")[0]
	run(t, nil, "kill", "--signal=KILL", victim)
	for range 4 {
		refresh("with one replica")
	}
	run(t, nil, "compose", "--profile", "broker", "restart", "store")
	up(t, nil, "compose", "--profile", "broker")
	refresh("after a restart of the store")

	gatehouse := func(args ...string) string {
		t.Helper()
		return run(t, nil, append([]string{"compose", "--profile", "broker", "exec", "--no-TTY", "broker", "gatehouse"},
			args...)...)
	}
	if list := gatehouse("broker", "sign-ins", "list"); !strings.Contains(list, "alice") {
		t.Errorf("the list is\n%s", list)
	}
	if ended := gatehouse("broker", "sign-ins", "end", "--subject=alice"); !strings.Contains(ended, "sign-ins ended") ||
		strings.HasPrefix(ended, "0 ") {
		t.Errorf("the end says %s", ended)
	}
	if _, status, body := refreshed(t, network, client, current); status != http.StatusBadRequest ||
		!strings.Contains(body, "invalid_grant") {
		t.Errorf("after the end: status %d: %s", status, body)
	}
}
