package authserver

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func signingAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}
}

// keyring signs with the signing key of its source, and publishes the public halves of all valid keys.
type keyring struct {
	algorithm jose.SignatureAlgorithm
	source    keySource
}

// keySource has the keys of a keyring: [memoryKeys] or [storedKeys].
type keySource interface {
	// signing returns the private key to sign with. The error wraps [errNoSigningKey].
	signing() (jose.JSONWebKey, error)
	// published returns the public keys. The error wraps [errNoSigningKey] if none is known.
	published() ([]jose.JSONWebKey, error)
	// rotate replaces the signing key. The old keys stay published, until the tokens that they signed have
	// expired, or are withdrawn at once if keepOld is false.
	rotate(ctx context.Context, keepOld bool) error
	// load brings the keys up to date. It returns why nothing can be signed, or nil.
	load(ctx context.Context) error
	// run does so from time to time, until ctx ends.
	run(ctx context.Context)
	// since returns when the signing key was put into use; zero if there is none.
	since() time.Time
	// ready returns the result of the last load.
	ready() error
}

// newKeyring returns a keyring with the keys in the store of c, which are read later, or with keys in memory.
func newKeyring(c Config, isStored bool) (*keyring, error) {
	algorithm := jose.SignatureAlgorithm(c.SigningAlgorithm)
	if !isStored || c.SigningKey != nil {
		source, err := newMemoryKeys(algorithm, c.SigningKey)
		return &keyring{algorithm, source}, err
	}
	return &keyring{algorithm, newStoredKeys(storedConfig{
		algorithm: algorithm, issuer: c.Issuer, tokenLifetime: c.AccessTokenLifetime,
		store: c.Store, seals: c.Keys, now: c.Now, logger: c.Logger,
	})}, nil
}

// errNoSigningKey means that nothing can be signed at the moment. The request may be repeated.
var errNoSigningKey = errors.New("there is no usable signing key")

// requireKey refuses requests for tokens while none can be signed, before they use up a code or a refresh
// token.
func (k *keyring) requireKey(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := k.source.signing(); err != nil {
			writeKeysUnavailable(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// requirePublished refuses requests for the public keys while none are known.
func (k *keyring) requirePublished(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := k.source.published(); err != nil {
			writeKeysUnavailable(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// writeKeysUnavailable names the interval in which keys are looked for: a verifier that waits longer refuses tokens
// for longer.
func writeKeysUnavailable(w http.ResponseWriter, r *http.Request, err error) {
	noStore(w.Header())
	w.Header().Set("Retry-After", strconv.Itoa(int(retryInterval.Seconds())))
	op.WriteError(w, r, keysUnavailable(err), nil)
}

// keysUnavailable returns temporarily_unavailable with status 503 for an error that wraps errNoSigningKey,
// and other errors as they are. invalid_grant would end the sign-in of a client that did nothing wrong.
func keysUnavailable(err error) error {
	if !errors.Is(err, errNoSigningKey) {
		return err
	}
	return errTemporarilyUnavailable(err)
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

// newSigningKey returns a private key with its id.
func newSigningKey(private any, algorithm jose.SignatureAlgorithm) (jose.JSONWebKey, error) {
	key := jose.JSONWebKey{Key: private, Algorithm: string(algorithm), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return key, fmt.Errorf("signing key: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint) // RFC 7638
	return key, nil
}

func generateSigningKey(algorithm jose.SignatureAlgorithm) (jose.JSONWebKey, error) {
	private, err := generateKey(algorithm)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("signing key: %w", err)
	}
	return newSigningKey(private, algorithm)
}

// set returns the public keys. Its error is that of [keyring.sign].
func (k *keyring) set() (jose.JSONWebKeySet, error) {
	published, err := k.source.published()
	return jose.JSONWebKeySet{Keys: published}, keysUnavailable(err)
}

// sign returns a compact JWT with the given typ, which distinguishes access tokens from ID tokens (RFC 8725,
// section 3.11). The error has status 503 if there is no usable signing key.
func (k *keyring) sign(typ jose.ContentType, claims any) (string, error) {
	key, err := k.source.signing()
	if err != nil {
		return "", keysUnavailable(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.algorithm, Key: key},
		new(jose.SignerOptions).WithType(typ))
	if err != nil {
		return "", internalError(fmt.Errorf("signer: %w", err))
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", internalError(fmt.Errorf("claims: %w", err))
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", internalError(fmt.Errorf("signing: %w", err))
	}
	return signed.CompactSerialize()
}
