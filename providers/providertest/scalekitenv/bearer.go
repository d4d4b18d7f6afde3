package scalekitenv

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// bearer returns the claims of the bearer token in a request.
func (e *Environment) bearer(r *http.Request) (claims map[string]any, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, false
	}
	return e.verify(token)
}

// verify returns the claims of a token that is signed by a published key, not expired and already valid. It
// checks nothing else.
func (e *Environment) verify(token string) (claims map[string]any, ok bool) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, false
	}
	payload, ok := e.verifySignature(jws)
	if !ok || json.Unmarshal(payload, &claims) != nil {
		return nil, false
	}
	now := float64(time.Now().Unix())
	expiry, ok := claims["exp"].(float64)
	start, _ := claims["nbf"].(float64)
	return claims, ok && now < expiry && now >= start
}

func (e *Environment) verifySignature(jws *jose.JSONWebSignature) (payload []byte, ok bool) {
	var published struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(e.Signer.KeySet(), &published); err != nil {
		return nil, false
	}
	for _, raw := range published.Keys {
		var key jose.JSONWebKey
		// A key that a test made unreadable does not affect the others.
		if err := json.Unmarshal(raw, &key); err != nil || key.KeyID != jws.Signatures[0].Header.KeyID {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}
