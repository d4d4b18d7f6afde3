package providertest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Sign returns a compact JWS over claims by the newest key, or by that of [Issuer.SignWith]. Entries of
// header replace or extend the default header (alg and kid of the key, typ at+jwt); a nil value removes a
// member. The kid of a known key selects that key. An alg that fits the key determines the signature; any
// other alg is written to the header only.
func (i *Issuer) Sign(header, claims map[string]any) string {
	i.t.Helper()
	private, full := i.headerFor(header)
	return signAs(private, full, claims)
}

// headerFor returns the key that Sign uses for header, and the complete header.
func (i *Issuer) headerFor(header map[string]any) (key, map[string]any) {
	var k key
	if kid, _ := header["kid"].(string); kid != "" && i.knows(kid) {
		k = i.key(kid)
	} else {
		k = i.key("")
	}
	return k, merged(map[string]any{"alg": string(k.algorithm), "kid": k.id, "typ": "at+jwt"}, header)
}

// signAs signs with the alg in header if k can, and otherwise with the algorithm of k.
func signAs(k key, header, claims map[string]any) string {
	alg := k.algorithm
	if name, ok := header["alg"].(string); ok && canSign(k.private, jose.SignatureAlgorithm(name)) {
		alg = jose.SignatureAlgorithm(name)
	}
	return SignBytes(alg, k.private, mustJSON(header), mustJSON(claims))
}

// Claims returns the claims of a valid access token of the user alice for resource.
func (i *Issuer) Claims(resource string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": i.URL(), "sub": "alice", "aud": resource,
		"exp": now.Add(10 * time.Minute).Unix(), "iat": now.Unix(), "jti": rand.Text(),
		"client_id": "test-client", "scope": "mcp:use",
	}
}

// Token returns a signed token with [Issuer.Claims], changed; a nil value removes a claim.
func (i *Issuer) Token(resource string, changes map[string]any) string {
	i.t.Helper()
	return i.Sign(nil, merged(i.Claims(resource), changes))
}

// merged returns base with changes; a nil value removes a member.
func merged(base, changes map[string]any) map[string]any {
	out := maps.Clone(base)
	for name, value := range changes {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	return b
}
