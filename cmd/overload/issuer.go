package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is the part of an OpenID provider that a resource server uses: metadata, keys, and introspection with
// responses of a configurable size.
type issuer struct {
	*httptest.Server
	signer jose.Signer
	// paddingSize is the additional size of introspection responses in bytes.
	paddingSize atomic.Int64
}

func newIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	i := &issuer{}
	signing := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}
	if i.signer, err = jose.NewSigner(signing, (&jose.SignerOptions{}).WithType("at+jwt")); err != nil {
		return nil, err
	}
	documents := http.NewServeMux()
	serve := func(path string, document func(*http.Request) any) {
		documents.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(document(r))
		})
	}
	serve("/.well-known/openid-configuration", func(*http.Request) any {
		return map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize",
			"token_endpoint": i.URL + "/token", "introspection_endpoint": i.URL + "/introspect",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		}
	})
	serve("/keys", func(*http.Request) any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256",
			Use: "sig"}}}
	})
	serve("/introspect", func(r *http.Request) any {
		host, subject, ok := strings.Cut(strings.TrimPrefix(r.FormValue("token"), "opaque-"), "_")
		host = strings.ReplaceAll(host, "/", ":")
		return map[string]any{
			"active": ok, "iss": i.URL, "sub": subject, "aud": "http://" + host + "/mcp", "client_id": "c",
			"scope": "mcp:use greet:read",
			"exp":   time.Now().Add(time.Hour).Unix(), "padding": strings.Repeat("p", int(i.paddingSize.Load())),
		}
	})
	i.Server = httptest.NewServer(documents)
	return i, nil
}

func (i *issuer) token(resource, subject, scope string) string {
	claims, _ := json.Marshal(map[string]any{ // strings and numbers never fail
		"iss": i.URL, "aud": resource, "sub": subject, "client_id": "overload", "scope": scope,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "jti": rand.Text(),
	})
	signed, err := i.signer.Sign(claims)
	if err != nil {
		panic(err) // the key is valid
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}
