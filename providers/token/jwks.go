package token

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeyDocumentBytes = 1 << 20
	maxKeys             = 100
	minRSABits          = 2048 // RFC 7518, section 3.3
)

// keyring is a parsed key set: the keys that may verify a signature, and those that cannot be used.
type keyring struct {
	keys    map[string][]verificationKey // by each algorithm that they may be used with
	usable  int                          // number of distinct keys in keys
	skipped []skippedKey
}

type verificationKey struct {
	jose.JSONWebKey
	// issuer is the issuer that the key is bound to. It is empty with every provider but Microsoft Entra.
	issuer string
}

// skippedKey is a published key that cannot verify a signature.
type skippedKey struct {
	position int    // in the key set
	id       string // its kid, if it has one
	reason   string
	// faulty reports that the key is malformed. Other skipped keys have another purpose, or an unsupported
	// algorithm.
	faulty bool
	// otherPurpose reports that the key is not for signatures. Many providers publish such a key.
	otherPurpose bool
}

func (k skippedKey) String() string { return fmt.Sprintf("#%d: %s", k.position, k.reason) }

// maxCandidates bounds how many signatures are checked for one token.
const maxCandidates = 4

// candidates returns the keys that may have signed a token with these headers: those with its kid, or, where
// the token or the keys have none, all with its algorithm. Keys bound to an issuer for which accepts returns
// false are left out; bound is their number.
func (r *keyring) candidates(
	kid, alg string, accepts func(issuer string) bool,
) (keys []*jose.JSONWebKey, bound int) {
	list := r.keys[alg]
	take := func(id string, all bool) {
		for i := range list {
			switch key := &list[i]; {
			case key.KeyID != id && !all:
			case key.issuer != "" && !accepts(key.issuer):
				bound++
			default:
				keys = append(keys, &key.JSONWebKey)
			}
		}
	}
	take(kid, kid == "")
	if len(keys) == 0 && bound == 0 {
		take("", false)
	}
	return keys, bound
}

// otherAlgorithms returns the algorithms for which keys with that id are published.
func (r *keyring) otherAlgorithms(kid string) []string {
	var algorithms []string
	for _, alg := range slices.Sorted(maps.Keys(r.keys)) {
		if slices.ContainsFunc(r.keys[alg], func(key verificationKey) bool { return key.KeyID == kid }) {
			algorithms = append(algorithms, alg)
		}
	}
	return algorithms
}

// unusable returns a published key that a token names but that cannot be used, preferring a faulty one. A
// token without kid may be signed by any faulty key.
func (r *keyring) unusable(kid string) (skippedKey, bool) {
	var found skippedKey
	ok := false
	for _, key := range r.skipped {
		matches := kid != "" && key.id == kid || kid == "" && key.faulty
		if matches && (!ok || key.faulty && !found.faulty) {
			found, ok = key, true
		}
	}
	return found, ok
}

// unverifiedIssuer reads iss before the signature is checked. It only narrows the choice of keys.
func unverifiedIssuer(jws *jose.JSONWebSignature) string {
	claims, err := parseObject(jws.UnsafePayloadWithoutVerification(), nil)
	if err != nil {
		return ""
	}
	issuer, _ := claims.str("iss")
	return issuer
}

// boundTo reports whether a key with the "issuer" member bound may sign for issuer. Key sets that Microsoft
// Entra shares between tenants have {tenantid} in place of the tenant; without the check, keys of one cloud
// or account type could sign for another.
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

// acceptKeys names the media type of a key set (RFC 7517, section 8.5.2) first: the Kubernetes API server
// offers no other.
const acceptKeys = "application/jwk-set+json, " + acceptJSON

// load fetches the key set once. Its errors contain no text from the issuer.
func (s *KeySet) load(ctx context.Context) (*keySnapshot, error) {
	address, err := s.keysURL(ctx)
	if err != nil {
		return nil, err
	}
	body, err := getDocument(ctx, s.source.Client, address, acceptKeys, maxKeyDocumentBytes)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeySet(body)
	digest := sha256.Sum256(body)
	s.logSkipped(keys, digest)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return &keySnapshot{keys: keys, digest: digest}, nil
}

// keysURL returns the address of the key set, within a timeout of its own: discovery at many URLs does not
// reduce the time of the fetch.
func (s *KeySet) keysURL(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.source.Timeout, fetchTimeout))
	defer cancel()
	return s.source.URL(ctx)
}

// logSkipped logs the keys that cannot be used, once for each key set. Only one fetch runs at a time, so
// loggedSkipped needs no lock.
func (s *KeySet) logSkipped(ring *keyring, digest [sha256.Size]byte) {
	if ring == nil || s.loggedSkipped == digest {
		return
	}
	s.loggedSkipped = digest
	var unusable, otherPurpose []string
	for _, key := range ring.skipped {
		if key.otherPurpose {
			otherPurpose = append(otherPurpose, key.String())
		} else {
			unusable = append(unusable, key.String())
		}
	}
	if len(unusable) > 0 {
		s.logger.Warn("the provider publishes keys that cannot be used", "keys", firstTen(unusable))
	}
	if len(otherPurpose) > 0 {
		s.logger.Debug("the provider publishes keys that are not for signatures", "keys", firstTen(otherPurpose))
	}
}

// firstTen bounds the length of a log line.
func firstTen(texts []string) []string {
	const most = 10
	if len(texts) <= most {
		return texts
	}
	return append(slices.Clone(texts[:most]), fmt.Sprintf("and %d more", len(texts)-most))
}

// ErrNoUsableKeys reports that an issuer publishes no key set, or one without a key that can verify a
// signature. An outage is another error.
var ErrNoUsableKeys = errors.New("it has no key that can verify a signature")

// parseKeySet returns the keys of a key set that can verify a signature, and why it skipped the others. A set
// without any such key is an error, so that it never replaces a good one; the skipped keys are returned with
// the error.
func parseKeySet(body []byte) (*keyring, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("it is not JSON with a list of keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, at most %d are accepted", len(set.Keys), maxKeys)
	}
	ring := &keyring{keys: map[string][]verificationKey{}}
	for i, raw := range set.Keys {
		key, algorithms, err := parseKey(raw)
		if err != nil {
			err.position = i
			ring.skipped = append(ring.skipped, *err)
			continue
		}
		ring.usable++
		for _, alg := range algorithms {
			ring.keys[alg] = append(ring.keys[alg], key)
		}
	}
	if len(ring.keys) == 0 {
		return ring, ErrNoUsableKeys
	}
	return ring, nil
}

// parseKey parses one key and returns the algorithms that it may be used with: its alg if it has one, else
// those of its type and curve (RFC 8725, section 3.1: one key, one algorithm).
func parseKey(raw json.RawMessage) (key verificationKey, algorithms []string, skip *skippedKey) {
	members, err := parseObject(raw, nil)
	if err != nil {
		return key, nil, &skippedKey{reason: "it cannot be read", faulty: true}
	}
	id, _ := members.str("kid")
	faulty := func(reason string) *skippedKey { return &skippedKey{id: id, reason: reason, faulty: true} }
	if reason := unsupported(members); reason != "" {
		return key, nil, &skippedKey{id: id, reason: reason}
	}
	if err := key.UnmarshalJSON(withoutCertificates(members)); err != nil {
		return key, nil, faulty("it cannot be read")
	}
	var extra struct {
		Operations []string `json:"key_ops"`
		Issuer     string   `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &extra); err != nil {
		return key, nil, faulty("its key_ops or its issuer cannot be read")
	}
	key.issuer = extra.Issuer
	if key.Use != "" && key.Use != "sig" {
		return key, nil, &skippedKey{id: id, reason: "it is not for signatures", otherPurpose: true}
	}
	if len(extra.Operations) > 0 && !slices.Contains(extra.Operations, "verify") {
		return key, nil, &skippedKey{id: id, reason: "its key_ops do not include verify", otherPurpose: true}
	}
	// Everyone can sign with a private key that was published.
	if !key.IsPublic() {
		_, symmetric := key.Key.([]byte)
		return key, nil, &skippedKey{id: id, reason: "it is not a public key", faulty: !symmetric}
	}
	if algorithms, err = algorithmsOf(key.Key); err != nil {
		return key, nil, faulty(err.Error())
	}
	if key.Algorithm == "Ed25519" { // the name in RFC 9864; tokens still have EdDSA
		key.Algorithm = string(jose.EdDSA)
	}
	if key.Algorithm != "" {
		if !slices.Contains(algorithms, key.Algorithm) {
			return key, nil, &skippedKey{id: id, reason: "its alg does not fit its type",
				faulty: IsAsymmetric(jose.SignatureAlgorithm(key.Algorithm))}
		}
		algorithms = []string{key.Algorithm}
	}
	return key, algorithms, nil
}

// unsupported returns why no signature can be checked with a well-formed key, or "". A key set may contain
// keys for algorithms that this server does not support.
func unsupported(key rawObject) string {
	kty, _ := key.str("kty")
	crv, _ := key.str("crv")
	switch kty {
	case "", "RSA", "oct":
		return ""
	case "EC":
		if crv == "" || slices.Contains([]string{"P-256", "P-384", "P-521"}, crv) {
			return ""
		}
		return "its curve is not supported"
	case "OKP":
		if crv == "" || crv == "Ed25519" {
			return ""
		}
		return "its curve is not supported"
	}
	return "its type is not supported"
}

// withoutCertificates returns a key without its certificate members, which are optional (RFC 7517, sections
// 4.6 to 4.9). The library rejects a key with a certificate that it cannot parse, such as one with a negative
// serial number; certificates are not used here.
func withoutCertificates(key rawObject) json.RawMessage {
	kept := []byte{'{'}
	for _, m := range key {
		switch string(m.name) {
		case "x5u", "x5c", "x5t", "x5t#S256":
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		name, err := json.Marshal(string(m.name))
		if err != nil {
			continue // a string can always be marshalled
		}
		kept = append(append(append(kept, name...), ':'), m.value...)
	}
	return append(kept, '}')
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
