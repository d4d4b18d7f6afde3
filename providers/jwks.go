package providers

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
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
)

const (
	maxKeyDocumentBytes = 1 << 20
	maxKeys             = 100
	minRSABits          = 2048 // RFC 7518, section 3.3
	fetchTimeout        = 5 * time.Second
)

// keyDocument is a key set in which every key can be used. It is also the http.RoundTripper that serves the set to the
// library, so that the library never reaches the network.
type keyDocument struct {
	keys []usableKey
	body []byte
}

// usableKey is what must be known to choose a key before the library does.
type usableKey struct {
	id         string
	algorithms []string
}

func (k usableKey) accepts(alg string) bool { return slices.Contains(k.algorithms, alg) }

func (d *keyDocument) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(d.body)), ContentLength: int64(len(d.body)), Request: r,
	}, nil
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
		Transport: transport,
		Timeout:   fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("redirects are not followed")
		},
	}
}

func fixedURL(u string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return u, nil }
}

// load fetches the key set once. Its errors are in our own words: what the issuer sent is never repeated.
func (s *KeySet) load(ctx context.Context) (*keyDocument, error) {
	address, err := s.source.URL(ctx)
	if err != nil {
		return nil, err
	}
	body, err := getDocument(ctx, s.source.Client, address, maxKeyDocumentBytes)
	if err != nil {
		return nil, err
	}
	document, skipped, err := sanitize(body)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if len(skipped) > 0 {
		s.logger.Debug("keys that cannot be used were skipped", "used", len(document.keys), "skipped", skipped)
	}
	return document, nil
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
		return nil, &busyError{status: resp.StatusCode, retryAfter: time.Duration(max(seconds, 0)) * time.Second}
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

// inOurWords describes why a request failed. Only errors of the network, of names and of certificates speak for
// themselves; others may quote what the other side sent.
func inOurWords(err error) string {
	var (
		network     *net.OpError
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		timeout     interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &name):
		return "no such host name"
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.As(err, &network):
		return network.Error()
	default:
		return "no usable answer"
	}
}

// sanitize keeps the keys of a key set that can verify a signature, and says why it skipped the others. A set without
// any such key is an error, so that it never replaces a good one.
func sanitize(body []byte) (*keyDocument, []string, error) {
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
		document keyDocument
		kept     []jose.JSONWebKey
		skipped  []string
	)
	for i, raw := range set.Keys {
		key, algorithms, err := usable(raw)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("#%d: %v", i, err))
			continue
		}
		kept = append(kept, key)
		document.keys = append(document.keys, usableKey{id: key.KeyID, algorithms: algorithms})
	}
	if len(kept) == 0 {
		return nil, skipped, errors.New("it has no key that can verify a signature")
	}
	var err error
	document.body, err = json.Marshal(jose.JSONWebKeySet{Keys: kept})
	return &document, skipped, err
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
	if _, symmetric := key.Key.([]byte); symmetric {
		return key, nil, errors.New("it is symmetric")
	}
	key = key.Public()
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
