package oidc_test

import (
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// Microsoft Entra, one tenant: metadata and keys of version 2.0, tokens of version 1.0.
func TestKeyBoundToTheMetadataIssuer(t *testing.T) {
	const tokens, metadata = "https://sts.example/one/", "https://login.example/one/v2.0"
	for name, c := range map[string]struct {
		bound, discoveryIssuer string
		want                   providers.Reason
	}{
		"bound to it":             {metadata, metadata, ""},
		"bound to its template":   {"https://login.example/{tenantid}/v2.0", metadata, ""},
		"bound to another tenant": {"https://login.example/two/v2.0", metadata, token.ReasonKeyUnknown},
		"bound to another cloud": {"https://login.elsewhere.example/{tenantid}/v2.0", metadata,
			token.ReasonKeyUnknown},
		"bound to it, while it is not named": {metadata, "", token.ReasonKeyUnknown},
		"bound to the issuer of the tokens":  {tokens, metadata, ""},
	} {
		t.Run(name, func(t *testing.T) {
			authority := providertest.NewIssuer(t)
			kid := authority.ImportKey(newP256(t), jose.ES256, map[string]any{"issuer": c.bound})
			p := open(t, newSettings(t, tokens, func(s *oidc.Settings) {
				s.DiscoveryIssuer, s.JWKSURL = c.discoveryIssuer, authority.KeysURL()
			}), testResource)
			text := authority.Sign(map[string]any{"kid": kid}, withChanges(authority.Claims(testResource),
				map[string]any{"iss": tokens}))
			_, err := p.Verify(t.Context(), text)
			if got := providers.ReasonOf(err); got != c.want || err != nil &&
				!strings.Contains(err.Error(), "bound to another issuer") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestHintsForTenantsAndKeys(t *testing.T) {
	const one = "https://login.example.com/one/v2.0"
	authority := providertest.NewIssuer(t)
	bound := authority.ImportKey(newP256(t), jose.ES256,
		map[string]any{"issuer": "https://login.example.com/{tenantid}/v2.0"})
	encryption := authority.ImportKey(newP256(t), jose.ES256, map[string]any{"use": "enc"})
	for name, c := range map[string]struct {
		issuer, kid string
		claims      map[string]any
		hint        string
	}{
		"the braces name the claim of the metadata": {"https://login.example.com/{tenantid}/v2.0", bound,
			map[string]any{"iss": one, "tid": "one"}, "write {tid} in provider.issuer"},
		"the key is bound to another issuer": {"https://sts.example.com/one/", bound,
			map[string]any{"iss": "https://sts.example.com/one/"}, "write it in provider.discovery_issuer"},
		"the key is for encryption": {one, encryption, map[string]any{"iss": one},
			"a key that it publishes for signatures"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, newSettings(t, c.issuer, func(s *oidc.Settings) {
				s.Tenants, s.JWKSURL = []string{"one"},
					authority.KeysURL()
			}), testResource)
			text := authority.Sign(map[string]any{"kid": c.kid}, withChanges(authority.Claims(testResource), c.claims))
			hints := p.(token.Explainer).Explain(t.Context(), text, true).Hints()
			if len(hints) != 1 || !strings.Contains(hints[0].Fix, c.hint) {
				t.Errorf("%+v, want %q", hints, c.hint)
			}
		})
	}
}
