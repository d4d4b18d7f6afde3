package providertest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// withKeySet opens the adapter with another key set, and a wrapper around it if it is not nil.
func withKeySet(build func(ctx context.Context, s *providertest.Subject,
	info providers.ServerInfo) (*token.KeySet, func(oidc.KeySet) oidc.KeySet)) func(testing.TB,
	*providertest.Subject) {
	return func(_ testing.TB, s *providertest.Subject) {
		s.Open = func(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
			keys, wrap := build(ctx, s, info)
			go keys.Run(ctx)
			var source oidc.KeySet = keys
			if wrap != nil {
				source = wrap(keys)
			}
			return newAdapter(s.Issuer, info, keys, source), nil
		}
	}
}

func newKeySet(s *providertest.Subject, info providers.ServerInfo, client *http.Client,
	policy token.KeyPolicy) *token.KeySet {
	return token.NewKeySet(token.KeySource{
		URL: func(context.Context) (string, error) { return s.Issuer.KeysURL(), nil }, Client: client,
	}, policy, info.Logger)
}

func replacingKeys(wrap func(oidc.KeySet) oidc.KeySet) func(testing.TB, *providertest.Subject) {
	return withKeySet(func(_ context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet,
		func(oidc.KeySet) oidc.KeySet) {
		return newKeySet(s, info, s.Issuer.Client(), s.Issuer.KeyPolicy), wrap
	})
}

func policy(change func(*token.KeyPolicy)) func(testing.TB, *providertest.Subject) {
	return withKeySet(func(_ context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet,
		func(oidc.KeySet) oidc.KeySet) {
		p := s.Issuer.KeyPolicy
		change(&p)
		return newKeySet(s, info, s.Issuer.Client(), p), nil
	})
}

// fetching changes every response of the issuer before the adapter reads it.
func fetching(change func(*http.Response) error) func(testing.TB, *providertest.Subject) {
	return withKeySet(func(_ context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet,
		func(oidc.KeySet) oidc.KeySet) {
		client := s.Issuer.Client()
		client.Transport = changingTransport{client.Transport, change}
		return newKeySet(s, info, client, s.Issuer.KeyPolicy), nil
	})
}

type changingTransport struct {
	http.RoundTripper
	change func(*http.Response) error
}

func (c changingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := c.change(resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// fetchOnce reads the first response again and again.
func fetchOnce(t testing.TB, s *providertest.Subject) {
	var (
		mu    sync.Mutex
		first []byte
	)
	fetching(func(resp *http.Response) error {
		body, err := io.ReadAll(resp.Body)
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = body
		}
		resp.Body = io.NopCloser(bytes.NewReader(first))
		return err
	})(t, s)
}

func failOnAnyBadKey(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// withCertificates drops the keys that go-jose cannot read because of their certificates.
func withCertificates(resp *http.Response) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil && json.Unmarshal(body, &set) == nil {
		set.Keys = slices.DeleteFunc(set.Keys,
			func(raw json.RawMessage) bool { return new(jose.JSONWebKey).UnmarshalJSON(raw) != nil })
		body, err = json.Marshal(set)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return err
}

func anyStatus(resp *http.Response) error {
	resp.StatusCode = http.StatusOK
	return nil
}

func anyLength(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(bytes.TrimSpace(body)))
	return err
}

func ignoreRetryAfter(resp *http.Response) error {
	if resp.StatusCode >= 400 {
		resp.StatusCode = http.StatusInternalServerError
	}
	return nil
}

func followRedirects(t testing.TB, s *providertest.Subject) {
	withKeySet(func(_ context.Context, s *providertest.Subject, info providers.ServerInfo) (*token.KeySet,
		func(oidc.KeySet) oidc.KeySet) {
		client := s.Issuer.Client()
		client.CheckRedirect = nil
		return newKeySet(s, info, client, s.Issuer.KeyPolicy), nil
	})(t, s)
}

type anySignature struct{}
