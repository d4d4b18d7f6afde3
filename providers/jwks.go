package providers

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

const (
	maxKeyDocumentBytes = 1 << 20
	maxKeys             = 100
	minRSABits          = 2048 // RFC 7518, section 3.3
	fetchTimeout        = 5 * time.Second
)

// keyring holds the keys that may verify a signature, under each algorithm that they may be used with.
type keyring map[string][]jose.JSONWebKey

// find returns the key of that id, or the only one if either side names none.
func (r keyring) find(kid, alg string) (*jose.JSONWebKey, bool) {
	key, err := oidc.FindMatchingKey(kid, oidc.KeyUseSignature, alg, r[alg]...)
	return &key, err == nil
}

// busyError is a 429 or 503 from the issuer.
type busyError struct {
	status     int
	retryAfter time.Duration
}

func (e *busyError) Error() string { return fmt.Sprintf("the issuer answered %d", e.status) }

// newFetchClient returns a client for requests to an issuer: bounded in time, and without redirects, because a redirect
// to another host would let that host choose our keys. A nil transport means the network.
func newFetchClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func fixedURL(u string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return u, nil }
}

// load fetches the key set once. Its errors are in our own words: what the issuer sent is never repeated.
func (s *KeySet) load(ctx context.Context) (keyring, error) {
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
	return keys, nil
}

// getDocument makes one GET request and returns the body of a 200 answer, at most limit bytes.
func getDocument(ctx context.Context, client *http.Client, address string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Cache-Control", "no-cache") // a cache on the way must not hide a rotation
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be asked: %s", req.URL.Host, inOurWords(err))
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusServiceUnavailable:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		seconds = min(max(seconds, 0), 24*60*60) // more would overflow
		return nil, &busyError{status: resp.StatusCode, retryAfter: time.Duration(seconds) * time.Second}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %d", req.URL.Host, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s did not finish its answer", req.URL.Host)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", req.URL.Host, limit)
	}
	return body, nil
}

// inOurWords describes why a request failed. Only errors of the network speak for themselves; others may quote what the
// other side sent, such as the names in its certificate.
func inOurWords(err error) string {
	var (
		network     *net.OpError
		name        *net.DNSError
		otherHost   x509.HostnameError
		authority   x509.UnknownAuthorityError
		certificate *tls.CertificateVerificationError
		timeout     interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &name):
		return "its name cannot be resolved"
	case errors.As(err, &otherHost):
		return "its certificate is for another host"
	case errors.As(err, &authority):
		return "its certificate is from an authority that is not trusted here"
	case errors.As(err, &certificate):
		return "its certificate does not hold; it may have expired"
	case errors.As(err, &network):
		text := network.Error()
		return text[:min(len(text), quoteLimit)] // a proxy has its say in it
	default:
		return "no usable answer"
	}
}

// sanitize keeps the keys of a key set that can verify a signature, and says why it skipped the others. A set without
// any such key is an error, so that it never replaces a good one.
func sanitize(body []byte) (keyring, []string, error) {
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
		keys    = keyring{}
		skipped []string
	)
	for i, raw := range set.Keys {
		key, algorithms, err := usable(raw)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("#%d: %v", i, err))
			continue
		}
		for _, alg := range algorithms {
			keys[alg] = append(keys[alg], key)
		}
	}
	if len(keys) == 0 {
		return nil, skipped, errors.New("it has no key that can verify a signature")
	}
	return keys, skipped, nil
}

// usable reads one key and says which algorithms it may be used with: its own alg if it names one, else those of its
// type and curve (RFC 8725, section 3.1: one key, one algorithm).
func usable(raw json.RawMessage) (jose.JSONWebKey, []string, error) {
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(raw); err != nil {
		return key, nil, errors.New("it cannot be read")
	}
	var extra struct {
		Operations []string `json:"key_ops"`
	}
	if err := json.Unmarshal(raw, &extra); err != nil {
		return key, nil, errors.New("its key_ops cannot be read")
	}
	if key.Use != "" && key.Use != "sig" {
		return key, nil, errors.New("it is not for signatures")
	}
	if len(extra.Operations) > 0 && !slices.Contains(extra.Operations, "verify") {
		return key, nil, errors.New("its key_ops do not include verify")
	}
	// What is private and was published is everybody's key by now.
	if !key.IsPublic() {
		return key, nil, errors.New("it is not a public key")
	}
	algorithms, err := algorithmsOf(key.Key)
	if err != nil {
		return key, nil, err
	}
	if key.Algorithm != "" {
		if !slices.Contains(algorithms, key.Algorithm) {
			return key, nil, errors.New("its alg does not fit its type")
		}
		algorithms = []string{key.Algorithm}
	}
	return key, algorithms, nil
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
