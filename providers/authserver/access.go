package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const maxAccessTokens = 100_000 // of the demo; the oldest is removed

// accessTokens are the access tokens that the issuer has issued.
type accessTokens interface {
	// granted is called when a grant was created, and ended when it ends before its time.
	granted(now time.Time, g *storedGrant)
	ended(now time.Time, digest string)
	// newID returns the jti of a new token; the digest is empty for a token without a grant.
	newID(digest string) string
	// issued is called with a token that is about to be sent.
	issued(now time.Time, token, digest string, claims accessClaims)
	// active returns the claims of a token that is known to be neither expired nor revoked, for introspection.
	active(now time.Time, token string) (accessClaims, bool)
	// revoke revokes a token of the client, if it is one of this issuer. The error is errForeignToken if it belongs to
	// another client, or wraps errUnavailable.
	revoke(ctx context.Context, now time.Time, token, clientID string) error
}

// rememberedTokens are the access tokens of the demo, for introspection and for the revocation of a single one. They
// end with the process.
type rememberedTokens struct {
	consents *consents

	mu sync.Mutex
	// tokens are by digest, because they are long. gone are grants that ended before their tokens expire.
	tokens *expiringMap[[sha256.Size]byte, *accessToken]
	gone   *expiringMap[string, struct{}]
}

type accessToken struct {
	grant   string
	claims  accessClaims
	revoked bool
}

func newRememberedTokens(lifetime time.Duration, c *consents) *rememberedTokens {
	return &rememberedTokens{
		consents: c,
		tokens:   newExpiringMap[[sha256.Size]byte, *accessToken](lifetime, maxAccessTokens),
		gone:     newExpiringMap[string, struct{}](lifetime, maxAccessTokens),
	}
}

func (r *rememberedTokens) granted(now time.Time, g *storedGrant) { r.consents.put(now, g) }

func (r *rememberedTokens) ended(now time.Time, digest string) {
	r.consents.end(digest)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone.put(now, digest, struct{}{})
}

func (*rememberedTokens) newID(string) string { return rand.Text() }

func (r *rememberedTokens) issued(now time.Time, token, digest string, claims accessClaims) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens.put(now, sha256.Sum256([]byte(token)), &accessToken{grant: digest, claims: claims})
}

func (r *rememberedTokens) active(now time.Time, token string) (accessClaims, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tokens.get(now, sha256.Sum256([]byte(token)))
	if !ok || t.revoked {
		return accessClaims{}, false
	}
	if _, gone := r.gone.get(now, t.grant); gone {
		return accessClaims{}, false
	}
	return t.claims, true
}

// revoke revokes a single token. Its grant stays.
func (r *rememberedTokens) revoke(_ context.Context, now time.Time, token, clientID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tokens.get(now, sha256.Sum256([]byte(token)))
	if !ok {
		return nil
	}
	if t.claims.ClientID != clientID {
		return errForeignToken
	}
	t.revoked = true
	return nil
}

// namedTokens are access tokens that are not remembered: the jti names the grant, and a token ends by its age. Resource
// servers verify them without the store.
type namedTokens struct{ *Issuer }

func (namedTokens) granted(time.Time, *storedGrant)                {}
func (namedTokens) ended(time.Time, string)                        {}
func (namedTokens) issued(time.Time, string, string, accessClaims) {}
func (namedTokens) active(time.Time, string) (accessClaims, bool)  { return accessClaims{}, false }

func (namedTokens) newID(digest string) string {
	if digest == "" {
		return rand.Text()
	}
	return digest + "." + rand.Text()
}

// revoke ends the grant of a token, because a single token cannot be revoked. An expired one will do: it proves as much
// about its client.
func (n namedTokens) revoke(ctx context.Context, _ time.Time, token, clientID string) error {
	claims, ok := n.readAccessToken(token)
	if !ok {
		return nil
	}
	if claims.ClientID != clientID {
		return errForeignToken
	}
	digest, _, named := strings.Cut(claims.ID, ".")
	if !named {
		return nil
	}
	return n.revokeGrant(ctx, digest, clientID)
}

// readAccessToken returns the claims of an access token that one of the published keys has signed.
func (i *Issuer) readAccessToken(token string) (claims accessClaims, ok bool) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{i.keys.algorithm})
	if err != nil {
		return claims, false
	}
	header := signed.Signatures[0].Header
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != accessTokenType {
		return claims, false
	}
	set, err := i.keys.set()
	if err != nil {
		return claims, false
	}
	for _, key := range set.Key(header.KeyID) {
		if payload, err := signed.Verify(key); err == nil {
			err = json.Unmarshal(payload, &claims)
			return claims, err == nil && claims.Issuer == i.config.Issuer
		}
	}
	return claims, false
}
