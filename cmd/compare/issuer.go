package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is the part of an OpenID provider that a resource server uses: metadata, keys and tokens.
type issuer struct {
	*httptest.Server
	signer jose.Signer
	n      int
}

func newIssuer() (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	i := &issuer{}
	if i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256,
		Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, (&jose.SignerOptions{}).WithType("at+jwt")); err != nil {
		return nil, err
	}
	documents := http.NewServeMux()
	serve := func(path string, document func() any) {
		documents.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(document())
		})
	}
	serve("/.well-known/openid-configuration", func() any {
		return map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL +
			"/authorize", "token_endpoint": i.URL + "/token",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"}}
	})
	serve("/keys", func() any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "RS256",
			Use: "sig"}}}
	})
	i.Server = httptest.NewServer(documents)
	return i, nil
}

// claims returns the claims of a token as JSON. The jti differs in each.
func (i *issuer) claims(resource string, changes map[string]any) []byte {
	i.n++
	claims := map[string]any{
		"iss": i.URL, "aud": resource, "sub": "alice", "client_id": "compare",
		"scope": "mcp:use greet:read profile email",
		"iat":   time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "jti": fmt.Sprint(i.n),
		"email": "alice@example.com", "name": "Alice Example",
		"org": "org_0123456789", "groups": []string{"engineering", "on-call", "employees", "reviewers"},
	}
	for name, value := range changes {
		claims[name] = value
	}
	payload, _ := json.Marshal(claims) // strings and numbers never fail
	return payload
}

// token returns a token of about 900 bytes, a realistic size.
func (i *issuer) token(resource string, changes map[string]any) string {
	jws, err := i.signer.Sign(i.claims(resource, changes))
	if err != nil {
		return ""
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		return ""
	}
	return token
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
