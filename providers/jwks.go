package providers

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

const (
	maxKeyDocumentBytes = 1 << 20
	maxKeys             = 100
	minRSABits          = 2048 // RFC 7518, section 3.3
)

// keyring holds the keys that may verify a signature, under each algorithm that they may be used with.
type keyring struct {
	keys map[string][]jose.JSONWebKey
	// issuers are the issuers that the keys of an algorithm are bound to, in the same order. It is nil when no key is
	// bound, as with every provider but Microsoft Entra.
	issuers map[string][]string
}

// find returns the key of that id, or the only one if either side names none, among those that may sign for the issuer of
// the token.
func (r *keyring) find(kid, alg string, jws *jose.JSONWebSignature) (*jose.JSONWebKey, bool) {
	if r == nil {
		return nil, false
	}
	candidates := r.keys[alg]
	if r.issuers != nil {
		issuer := unverifiedIssuer(jws)
		candidates = nil
		for i, key := range r.keys[alg] {
			if boundTo(r.issuers[alg][i], issuer) {
				candidates = append(candidates, key)
			}
		}
	}
	key, err := oidc.FindMatchingKey(kid, oidc.KeyUseSignature, alg, candidates...)
	return &key, err == nil
}

// unverifiedIssuer reads iss before the signature holds. It only narrows the choice of keys.
func unverifiedIssuer(jws *jose.JSONWebSignature) string {
	claims, err := parseObject(jws.UnsafePayloadWithoutVerification(), nil)
	if err != nil {
		return ""
	}
	issuer, _ := claims.text("iss")
	return issuer
}

// boundTo reports whether a key whose "issuer" member is bound may sign for issuer. The key sets that Microsoft Entra
// shares between tenants write {tenantid} where each tenant has its own id; without the check, the keys of one cloud or
// account type would sign for another.
func boundTo(bound, issuer string) bool {
	prefix, rest, isTemplate := strings.Cut(bound, "{")
	if !isTemplate {
		return bound == "" || bound == issuer
	}
	_, suffix, _ := strings.Cut(rest, "}")
	middle, hasPrefix := strings.CutPrefix(issuer, prefix)
	middle, hasSuffix := strings.CutSuffix(middle, suffix)
	return hasPrefix && hasSuffix && middle != "" && !strings.Contains(middle, "/")
}

// load fetches the key set once. Its errors are in our own words: what the issuer sent is never repeated.
func (s *KeySet) load(ctx context.Context) (*generation, error) {
	address, err := s.source.URL(ctx)
	if err != nil {
		return nil, err
	}
	body, err := getDocument(ctx, s.source.Client, address, maxKeyDocumentBytes)
	if err != nil {
		return nil, err
	}
	keys, skipped, err := sanitize(body)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if len(skipped) > 0 {
		s.logger.Debug("keys that cannot be used were skipped", "skipped", skipped)
	}
	return &generation{keys: keys, digest: sha256.Sum256(body)}, nil
}

// sanitize keeps the keys of a key set that can verify a signature, and says why it skipped the others. A set without
// any such key is an error, so that it never replaces a good one.
func sanitize(body []byte) (*keyring, []string, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, nil, errors.New("it is not JSON with a list of keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("it has %d keys, at most %d are accepted", len(set.Keys), maxKeys)
	}
	var (
		ring    = &keyring{keys: map[string][]jose.JSONWebKey{}}
		issuers = map[string][]string{}
		bound   bool
		skipped []string
	)
	for i, raw := range set.Keys {
		key, issuer, algorithms, err := usable(raw)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("#%d: %v", i, err))
			continue
		}
		for _, alg := range algorithms {
			ring.keys[alg] = append(ring.keys[alg], key)
			issuers[alg] = append(issuers[alg], issuer)
		}
		bound = bound || issuer != ""
	}
	if len(ring.keys) == 0 {
		return nil, skipped, errors.New("it has no key that can verify a signature")
	}
	if bound {
		ring.issuers = issuers
	}
	return ring, skipped, nil
}

// usable reads one key, the issuer that it is bound to if any, and says which algorithms it may be used with: its own alg
// if it names one, else those of its type and curve (RFC 8725, section 3.1: one key, one algorithm).
func usable(raw json.RawMessage) (key jose.JSONWebKey, issuer string, algorithms []string, err error) {
	if err := key.UnmarshalJSON(raw); err != nil {
		return key, "", nil, errors.New("it cannot be read")
	}
	var extra struct {
		Operations []string `json:"key_ops"`
		Issuer     string   `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &extra); err != nil {
		return key, "", nil, errors.New("its key_ops or its issuer cannot be read")
	}
	if key.Use != "" && key.Use != "sig" {
		return key, "", nil, errors.New("it is not for signatures")
	}
	if len(extra.Operations) > 0 && !slices.Contains(extra.Operations, "verify") {
		return key, "", nil, errors.New("its key_ops do not include verify")
	}
	// What is private and was published is everybody's key by now.
	if !key.IsPublic() {
		return key, "", nil, errors.New("it is not a public key")
	}
	if algorithms, err = algorithmsOf(key.Key); err != nil {
		return key, "", nil, err
	}
	if key.Algorithm == "Ed25519" { // RFC 9864's name for what tokens still call EdDSA
		key.Algorithm = string(jose.EdDSA)
	}
	if key.Algorithm != "" {
		if !slices.Contains(algorithms, key.Algorithm) {
			return key, "", nil, errors.New("its alg does not fit its type")
		}
		algorithms = []string{key.Algorithm}
	}
	return key, extra.Issuer, algorithms, nil
}

func algorithmsOf(key any) ([]string, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("it is an RSA key of %d bits, less than %d", k.N.BitLen(), minRSABits)
		}
		return strings.Fields("RS256 RS384 RS512 PS256 PS384 PS512"), nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{string(jose.ES256)}, nil
		case elliptic.P384():
			return []string{string(jose.ES384)}, nil
		case elliptic.P521():
			return []string{string(jose.ES512)}, nil
		}
		return nil, errors.New("its curve is not supported")
	case ed25519.PublicKey:
		return []string{string(jose.EdDSA)}, nil
	}
	return nil, errors.New("its type is not supported")
}
