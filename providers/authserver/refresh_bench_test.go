package authserver

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkRefresh is a refresh without a question to the provider, from the request to the response.
func BenchmarkRefresh(b *testing.B) {
	const redirectURI, verifier = "http://127.0.0.1/callback", "a-code-verifier-that-is-long-enough-for-rfc-7636-012345"
	i, err := New(Config{
		Issuer: "http://127.0.0.1:9", Resources: []string{"http://127.0.0.1:9/mcp"}, Scopes: []string{"mcp:use"},
		SigningAlgorithm: "ES256", SignIn: struct{ Authenticator }{}, Logger: slog.New(slog.DiscardHandler),
		Clients: []Client{{ID: "public", RedirectURIs: []string{redirectURI}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	// S256 of the verifier
	const challenge = "s5yvhE-OSoXyfC9G5TbdqJ2WpZiV7hJjSo56OhLXG2s"
	code, err := i.Approve(b.Context(), Request{ClientID: "public", RedirectURI: redirectURI, Challenge: challenge,
		Resource: "http://127.0.0.1:9/mcp", Scopes: []string{"mcp:use", "offline_access"}},
		Person{Subject: "alice", Unrestricted: true, Credential: strings.Repeat("c", 1200)}, "")
	if err != nil {
		b.Fatal(err)
	}
	token := func(form url.Values) string {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, tokenPath, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		i.Handler().ServeHTTP(w, r)
		var answer struct {
			RefreshToken string `json:"refresh_token"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			b.Fatalf("status %d: %s", w.Code, w.Body)
		}
		return answer.RefreshToken
	}
	next := token(url.Values{"grant_type": {"authorization_code"}, "client_id": {"public"}, "code": {code},
		"code_verifier": {verifier}})
	for b.Loop() {
		next = token(url.Values{"grant_type": {"refresh_token"}, "client_id": {"public"}, "refresh_token": {next}})
	}
}
