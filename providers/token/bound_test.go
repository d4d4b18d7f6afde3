package token

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/providers"
)

// TestOIDCAcceptsOnlyListedTenants shows what the binding is for.
func TestBoundTo(t *testing.T) {
	const template = "https://login.example/{tenantid}/v2.0"
	for name, c := range map[string]struct {
		bound, issuer string
		want          bool
	}{
		"not bound":              {"", "https://login.example/one/v2.0", true},
		"bound to this one":      {"https://login.example/one/v2.0", "https://login.example/one/v2.0", true},
		"bound to another":       {"https://login.example/two/v2.0", "https://login.example/one/v2.0", false},
		"bound to a prefix":      {"https://login.example/one", "https://login.example/one/v2.0", false},
		"bound to every tenant":  {template, "https://login.example/one/v2.0", true},
		"of another host":        {template, "https://evil.example/one/v2.0", false},
		"of another version":     {template, "https://login.example/one/v1.0", false},
		"of no tenant":           {template, "https://login.example//v2.0", false},
		"of a path for a tenant": {template, "https://login.example/one/two/v2.0", false},
		"the tenant at the end":  {"https://login.example/{tenantid}", "https://login.example/one", true},
		"without the suffix": {"https://login.example/{tenantid}-v2", "https://login.example/one",
			false},
		"with another prefix": {"urn:issuer:{tenantid}", "urn:other:one", false},
		"without issuer":      {template, "", false},
	} {
		if got := boundTo(c.bound, c.issuer); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestTemplateClaim(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://login.example/{tid}/v2.0":    "tid",
		"https://login.example/{tid}":         "tid",
		"https://login.example/one":           "",
		"https://login.example/{}":            "",
		"https://login.example/{tid":          "",
		"https://login.example/tid}":          "",
		"https://login.example/{a/b}":         "",
		"https://login.example/{a{b}":         "",
		"https://login.example/{tid}/{other}": "",
		"https://login.example/{tid}/x}":      "",
	} {
		if got := templateClaim(issuer); got != want {
			t.Errorf("%s: %q, want %q", issuer, got, want)
		}
	}
}

// transport responds without a network, for tests in a synctest bubble.
type transport func() string

func (f transport) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(f()))}, nil
}

// A token that is not active yet at one of several servers of the issuer must not be refused for the whole
// cache time.
func TestIntrospectorCachesRefusalsForLessTime(t *testing.T) {
	const resource = "https://mcp.example.com/mcp"
	for name, c := range map[string]struct {
		answer string
		ttl    time.Duration
		until  time.Duration
	}{
		"an active token": {`{"active":true,"sub":"alice","client_id":"web","aud":"` + resource +
			`","exp":4102444800}`, 30 * time.Second, 30 * time.Second},
		"a refusal":                   {`{"active":false}`, 30 * time.Second, refusalTTL},
		"a refusal, short cache time": {`{"active":false}`, 2 * time.Second, 2 * time.Second},
		"a refusal, without a cache":  {`{"active":false}`, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				client := &http.Client{Transport: transport(func() string { requests++; return c.answer })}
				rules := Rules{Issuers: []string{"https://login.example.com"}, Audiences: []string{resource},
					ScopeClaims: []string{"scope"}, ClientClaims: []string{"client_id"}}
				i := NewIntrospector(t.Context(), RFC7662(NoAuthentication),
					StaticEndpoint("https://login.example.com/introspect"), client, rules, c.ttl,
					slog.New(slog.DiscardHandler))
				_, first := i.Verify(context.Background(), "opaque")
				if c.until > 0 {
					time.Sleep(c.until - time.Millisecond)
					if _, again := i.Verify(context.Background(), "opaque"); requests != 1 ||
						providers.ReasonOf(again) != providers.ReasonOf(first) {
						t.Errorf("within %s: %d introspection requests: %v, %v", c.until, requests, first, again)
					}
				}
				time.Sleep(time.Millisecond)
				if _, _ = i.Verify(context.Background(), "opaque"); requests != 2 {
					t.Errorf("after %s: %d introspection requests in all, want 2", c.until, requests)
				}
			})
		})
	}
}
