package upstream

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"

	"gatehouse/providers"
)

// Minter makes access tokens (RFC 9068) that tell an upstream who calls: a new token for each audience, so that the
// caller's own never leaves this server.
type Minter struct {
	issuer string
	keys   []byte // the JSON Web Key Set
	signer jose.Signer
	now    func() time.Time
	// tokens keeps tokens for a part of their life: a signature must not be made for each call.
	tokens *lru.Cache[minted, mintedToken]
}

// minted is what a token says.
type minted struct{ audience, origin, subject, client, scope string }

type mintedToken struct {
	text  string
	until time.Time
}

const (
	mintedLifetime = time.Minute
	mintedReuse    = 30 * time.Second
	maxMinted      = 4096
)

// NewMinter makes a minter. issuer is the URL of this server, and key is on P-256; nil makes a new key.
func NewMinter(issuer string, key *ecdsa.PrivateKey) (*Minter, error) {
	var err error
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	public := jose.JSONWebKey{Key: &key.PublicKey, Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	m := &Minter{issuer: issuer, now: time.Now}
	if m.keys, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}); err != nil {
		return nil, err
	}
	m.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return nil, err
	}
	m.tokens, err = lru.New[minted, mintedToken](maxMinted)
	return m, err
}

// KeySet returns the JSON Web Key Set (RFC 7517) with which upstreams verify the tokens.
func (m *Minter) KeySet() []byte { return m.keys }

// self is this server as a caller. Its subject is its client, as of a token that no user is behind (RFC 9068, section
// 2.2).
func (m *Minter) self() *providers.Identity {
	return &providers.Identity{Issuer: m.issuer, Subject: m.issuer, Client: m.issuer}
}

// token returns a token about caller for one upstream. It has the scopes of one tool only.
func (m *Minter) token(audience string, caller *providers.Identity, scopes []string) (string, error) {
	says := minted{audience: audience, origin: caller.Issuer, subject: caller.Subject, client: caller.Client,
		scope: strings.Join(scopes, " ")}
	now := m.now()
	if t, found := m.tokens.Get(says); found && now.Before(t.until) {
		return t.text, nil
	}
	client := caller.Client
	if client == "" {
		client = m.issuer // required by RFC 9068, section 2.2; this server is who sends the token
	}
	claims := map[string]any{
		"iss": m.issuer, "aud": audience, "sub": caller.Subject, "client_id": client,
		// Two issuers may use one subject. OpenID providers that federate name the origin so.
		"idp": caller.Issuer,
		"iat": now.Unix(), "exp": now.Add(mintedLifetime).Unix(), "jti": rand.Text(),
	}
	if says.scope != "" { // an empty one is no scope (RFC 6749, section 3.3)
		claims["scope"] = says.scope
	}
	text, err := jwt.Signed(m.signer).Claims(claims).Serialize()
	if err != nil {
		return "", err
	}
	m.tokens.Add(says, mintedToken{text: text, until: now.Add(mintedReuse)})
	return text, nil
}
