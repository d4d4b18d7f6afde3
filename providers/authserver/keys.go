package authserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

func signingAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}
}

// keyring signs with one key and publishes the public halves of all valid keys.
type keyring struct {
	algorithm jose.SignatureAlgorithm

	mu        sync.RWMutex
	signing   jose.JSONWebKey
	published []jose.JSONWebKey
}

// newKeyring returns a keyring that signs with the key first, or with a generated key if first is nil.
func newKeyring(algorithm jose.SignatureAlgorithm, first crypto.Signer) (*keyring, error) {
	k := &keyring{algorithm: algorithm}
	if first == nil {
		return k, k.rotate(false)
	}
	return k, k.setSigningKey(first, false)
}

func (k *keyring) rotate(keepOld bool) error {
	private, err := generateKey(k.algorithm)
	if err != nil {
		return fmt.Errorf("local issuer: signing key: %w", err)
	}
	return k.setSigningKey(private, keepOld)
}

func (k *keyring) setSigningKey(private any, keepOld bool) error {
	key := jose.JSONWebKey{Key: private, Algorithm: string(k.algorithm), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return fmt.Errorf("local issuer: signing key: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint) // RFC 7638

	k.mu.Lock()
	defer k.mu.Unlock()
	published := []jose.JSONWebKey{key.Public()}
	if keepOld {
		published = append(published, k.published...)
	}
	k.signing, k.published = key, published
	return nil
}

// canSign reports whether private fits algorithm.
func canSign(private crypto.Signer, algorithm jose.SignatureAlgorithm) bool {
	switch key := private.(type) {
	case *rsa.PrivateKey:
		return algorithm == jose.RS256
	case *ecdsa.PrivateKey:
		return algorithm == jose.ES256 && key.Curve == elliptic.P256()
	case ed25519.PrivateKey:
		return algorithm == jose.EdDSA
	}
	return false
}

func generateKey(algorithm jose.SignatureAlgorithm) (any, error) {
	switch algorithm {
	case jose.RS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("unknown algorithm %q", algorithm)
}

// set returns the public keys.
func (k *keyring) set() jose.JSONWebKeySet {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return jose.JSONWebKeySet{Keys: k.published}
}

// sign returns a compact JWT with the given typ, which distinguishes access tokens from ID tokens (RFC 8725,
// section 3.11).
func (k *keyring) sign(typ jose.ContentType, claims any) (string, error) {
	k.mu.RLock()
	key := k.signing
	k.mu.RUnlock()

	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.algorithm, Key: key},
		new(jose.SignerOptions).WithType(typ))
	if err != nil {
		return "", fmt.Errorf("local issuer: signer: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("local issuer: claims: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("local issuer: signing: %w", err)
	}
	return signed.CompactSerialize()
}
