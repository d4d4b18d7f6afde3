package scalekitenv

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/providertest"
)

func (e *Environment) keys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(e.Signer.KeySet())
}

// AddKey publishes one more key, snk_3 and so on, and signs with it from now on: a rotation that keeps the
// old keys.
func (e *Environment) AddKey(alg jose.SignatureAlgorithm) (kid string) {
	e.t.Helper()
	e.mu.Lock()
	e.lastKey++
	kid = "snk_" + strconv.Itoa(e.lastKey)
	e.mu.Unlock()
	e.Signer.AddKeyWithID(kid, alg)
	return kid
}

// SignWith signs with the existing key of that id from now on.
func (e *Environment) SignWith(kid string) { e.Signer.SignWith(kid) }

// SigningKey returns the id of the key that signs.
func (e *Environment) SigningKeyID() string { return e.Signer.SigningKeyID() }

// Sign returns a compact JWS over claims with Scalekit's header: alg, kid, and typ JWT. Changes of the header
// work as in [providertest.Issuer.Sign]: the kid of a known key selects that key, any other is only written
// to the header.
func (e *Environment) Sign(header Changes, claims map[string]any) string {
	e.t.Helper()
	full := Changes{"typ": "JWT"}
	maps.Copy(full, header) // including nil values, which remove the defaults of the signer
	return e.Signer.Sign(full, claims)
}

// Unsigned returns a token with alg none and an empty signature (RFC 7519, section 6).
func (e *Environment) Unsigned(claims map[string]any) string {
	header := e.encode(Changes{"alg": "none", "kid": e.SigningKeyID(), "typ": "JWT"})
	return providertest.Assemble(header, e.encode(claims), nil)
}

// SignedWithPublicKey returns tokens with alg HS256 whose secret is the public half of the signing key, one
// for each encoding that an attacker would try, by its name.
func (e *Environment) SignedWithPublicKey(claims map[string]any) map[string]string {
	e.t.Helper()
	kid := e.SigningKeyID()
	header := e.encode(Changes{"alg": "HS256", "kid": kid, "typ": "JWT"})
	tokens := make(map[string]string)
	for encoding, secret := range providertest.PublicEncodings(e.Signer.PublicKey(kid), kid) {
		tokens[encoding] = providertest.SignBytes(jose.HS256, secret, header, e.encode(claims))
	}
	return tokens
}

func (e *Environment) encode(v any) []byte {
	e.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		e.t.Fatalf("scalekitenv: %v", err)
	}
	return b
}
