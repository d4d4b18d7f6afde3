package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
	public    json.RawMessage
}

// KeySet returns the key set as it is published now.
func (i *Issuer) KeySet() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	return mustJSON(map[string]any{"keys": i.published})
}

// AddKey generates and publishes a key for alg. It signs all tokens from now on.
func (i *Issuer) AddKey(alg jose.SignatureAlgorithm) (kid string) {
	i.t.Helper()
	return i.ImportKey(newKey(i.t, alg), alg, nil)
}

// AddKeyWithID is [Issuer.AddKey] with a given key id, which must be new to this issuer.
func (i *Issuer) AddKeyWithID(kid string, alg jose.SignatureAlgorithm) {
	i.t.Helper()
	if i.knows(kid) {
		i.t.Fatalf("providertest: there is a key %q already", kid)
	}
	i.publishKey(kid, newKey(i.t, alg), alg, nil)
}

// ImportKey publishes the public half of private for alg, and signs with it from now on. Changes replace
// members of the published JWK; a nil value removes one. Tokens carry the returned kid in any case; it is
// unique unless changes contain one.
func (i *Issuer) ImportKey(private crypto.Signer, alg jose.SignatureAlgorithm,
	changes map[string]any) (kid string) {
	i.t.Helper()
	kid, chosen := changes["kid"].(string)
	if !chosen {
		kid = "key-" + strconv.FormatInt(lastKey.Add(1), 10)
	}
	i.publishKey(kid, private, alg, changes)
	return kid
}

func (i *Issuer) publishKey(kid string, private crypto.Signer, alg jose.SignatureAlgorithm,
	changes map[string]any) {
	i.t.Helper()
	var members map[string]any
	jwk := jose.JSONWebKey{Key: private.Public(), KeyID: kid, Algorithm: string(alg), Use: "sig"}
	if err := json.Unmarshal(mustJSON(jwk), &members); err != nil {
		i.t.Fatal(err)
	}
	public := mustJSON(merged(members, changes))
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, key{kid, alg, private, public})
	i.published = append(i.published, public)
}

// Publish inserts any JSON value into the key set, before the present keys.
func (i *Issuer) Publish(jwk string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = append([]json.RawMessage{json.RawMessage(jwk)}, i.published...)
}

// Withdraw removes a key from the key set. Sign can still use it.
func (i *Issuer) Withdraw(kid string) {
	k := i.key(kid)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = slices.DeleteFunc(i.published,
		func(jwk json.RawMessage) bool { return string(jwk) == string(k.public) })
}

// SignWith signs with an existing key from now on.
func (i *Issuer) SignWith(kid string) {
	i.t.Helper()
	k := i.key(kid)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(slices.DeleteFunc(i.keys, func(other key) bool { return other.id == k.id }), k)
}

// SigningKeyID returns the id of the key that signs.
func (i *Issuer) SigningKeyID() string { return i.key("").id }

// PublicKey returns the public half of a key.
func (i *Issuer) PublicKey(kid string) any { return i.key(kid).private.Public() }

// PrivateKey returns the private half of a key, for tokens that Sign cannot make.
func (i *Issuer) PrivateKey(kid string) any { return i.key(kid).private }

// key returns the key with that id, or the signing key if kid is empty.
func (i *Issuer) key(kid string) key {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, k := range slices.Backward(i.keys) {
		if kid == "" || k.id == kid {
			return k
		}
	}
	i.t.Fatalf("providertest: there is no key %q", kid)
	panic("unreachable")
}

func (i *Issuer) knows(kid string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(i.keys, func(k key) bool { return k.id == kid })
}

// newKey returns a key that nothing else uses while t runs. RSA keys are slow to generate, so they are reused
// afterwards.
func newKey(t testing.TB, alg jose.SignatureAlgorithm) crypto.Signer {
	t.Helper()
	var (
		private crypto.Signer
		err     error
	)
	switch alg {
	case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512:
		private, err = borrowRSA(t)
	case jose.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("providertest: no keys for %q", alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func borrowRSA(t testing.TB) (*rsa.PrivateKey, error) {
	private := idleRSA()
	if private == nil {
		var err error
		if private, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return nil, err
		}
	}
	t.Cleanup(func() {
		rsaMu.Lock()
		defer rsaMu.Unlock()
		rsaIdle = append(rsaIdle, private)
	})
	return private, nil
}

func idleRSA() *rsa.PrivateKey {
	rsaMu.Lock()
	defer rsaMu.Unlock()
	n := len(rsaIdle)
	if n == 0 {
		return nil
	}
	private := rsaIdle[n-1]
	rsaIdle = rsaIdle[:n-1]
	return private
}

var (
	lastKey atomic.Int64 // generated ids are unique in the process

	rsaMu   sync.Mutex
	rsaIdle []*rsa.PrivateKey
)
