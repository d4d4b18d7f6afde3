package oidc_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// The first failed check of an explanation must be the reason of Verify.
func TestExplainAgreesWithVerify(t *testing.T) {
	authority := providertest.NewIssuer(t)
	withdrawn := authority.AddKey(jose.ES256)
	authority.Withdraw(withdrawn)
	rs := authority.AddKey(jose.RS256)
	claims := func(changes map[string]any) map[string]any {
		return withChanges(authority.Claims(testResource), changes)
	}
	sign := func(header map[string]any, changes map[string]any) string {
		full := map[string]any{"kid": rs}
		for k, v := range header {
			full[k] = v
		}
		return authority.Sign(full, claims(changes))
	}
	good := sign(nil, nil)
	for name, c := range map[string]struct {
		token string
		want  providers.Reason
		cause string // of the first hint
	}{
		"good":                   {good, "", ""},
		"opaque":                 {"aaaa", token.ReasonOpaque, "opaque token"},
		"opaque, in two parts":   {"a~b.c", token.ReasonOpaque, "opaque token"},
		"opaque, in three parts": {"a~b.c.d", token.ReasonOpaque, "opaque token"},
		"a part too few":         {"eyJ.x", token.ReasonMalformed, ""},
		"a payload not encoded":  {strings.Replace(good, ".", ".~", 1), token.ReasonMalformed, ""},
		"too long":               {strings.Repeat("x", 20<<10), token.ReasonTooLong, ""},
		"expired": {sign(nil, map[string]any{"exp": time.Now().Add(-3 * time.Hour).Unix()}),
			token.ReasonExpired, "it has expired"},
		"not valid yet": {sign(nil, map[string]any{"nbf": time.Now().Add(3 * time.Hour).Unix()}),
			token.ReasonNotYetValid, "not valid yet"},
		"an ID token": {sign(nil, map[string]any{"aud": "web", "azp": "web", "nonce": "n"}),
			token.ReasonAudienceMismatch, "it is an ID token"},
		"an ID token without nonce": {sign(nil, map[string]any{"aud": "web", "azp": "web"}),
			token.ReasonAudienceMismatch, "it is an ID token"},
		"an ID token for this resource": {sign(nil, map[string]any{"nonce": "n"}), token.ReasonIDToken,
			"it is an ID token"},
		"an ID token of Cognito": {sign(nil, map[string]any{"aud": "web", "token_use": "id"}),
			token.ReasonAudienceMismatch, "it is an ID token"},
		"a refresh token": {sign(nil, map[string]any{"token_use": "refresh_token"}),
			token.ReasonTypeRefused, "it is a refresh token"},
		"a refresh token elsewhere": {sign(nil, map[string]any{"aud": authority.URL(), "typ": "Refresh"}),
			token.ReasonAudienceMismatch, "it is a refresh token"},
		"an offline token": {sign(nil, map[string]any{"typ": "Offline"}), token.ReasonTypeRefused,
			"it is a refresh token"},
		"a serialized ID token": {sign(nil, map[string]any{"typ": "Serialized-ID"}), token.ReasonTypeRefused,
			"it is an ID token"},
		"a logout token": {sign(nil, map[string]any{"typ": "Logout"}), token.ReasonTypeRefused,
			"it is a logout"},
		"an event token": {sign(nil, map[string]any{"events": map[string]any{}}), token.ReasonTypeRefused,
			"security event token"},
		"no expiry": {sign(nil, map[string]any{"exp": nil}), token.ReasonExpiryMissing,
			"it has no exp"},
		"an issuer with a slash": {sign(nil, map[string]any{"iss": authority.URL() + "/"}),
			token.ReasonIssuerMismatch, "only by a slash"},
		"another issuer": {sign(nil, map[string]any{"iss": "https://old.example"}),
			token.ReasonIssuerMismatch, "another issuer"},
		"an audience with a slash": {sign(nil, map[string]any{"aud": testResource + "/"}),
			token.ReasonAudienceMismatch, "only by a slash"},
		"no audience": {sign(nil, map[string]any{"aud": nil}), token.ReasonAudienceMismatch,
			"it has no audience"},
		"another resource": {sign(nil, map[string]any{"aud": "https://other.example/mcp"}),
			token.ReasonAudienceMismatch, "meant for another resource"},
		"typ JWT": {sign(map[string]any{"typ": "JWT"}, nil), token.ReasonTypeRefused,
			`its typ is "JWT"`},
		"no typ": {sign(map[string]any{"typ": nil}, nil), token.ReasonTypeRefused,
			`its typ is "absent"`},
		"a key that was withdrawn": {authority.Sign(map[string]any{"kid": withdrawn}, claims(nil)),
			token.ReasonKeyUnknown, "does not publish"},
		"a damaged signature": {good[:len(good)-12] + "AAAAAAAAAAAA", token.ReasonSignatureInvalid, ""},
		"no usable claims": {authority.Sign(map[string]any{"kid": rs}, map[string]any{"x": 1}),
			token.ReasonIssuerMismatch, "it names no issuer"},
		"a header that is not JSON": {"eHh4.eHh4.eHh4", token.ReasonMalformed, ""},
		"a header with crit": {sign(map[string]any{"crit": []string{"exp"}}, nil), token.ReasonHeaderRefused,
			""},
		"alg none": {unsigned(claims(nil)), token.ReasonAlgorithmRefused, ""},
		"two things wrong": {sign(nil, map[string]any{"aud": nil, "exp": 1}), token.ReasonAudienceMismatch,
			"it has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, newSettings(t, authority.URL(),
				func(s *oidc.Settings) { s.JWKSURL = authority.KeysURL() }), testResource)
			_, err := p.Verify(context.Background(), c.token)
			e := p.(token.Explainer).Explain(context.Background(), c.token, true)
			var first providers.Reason
			headerRefused := false
			for _, f := range e.Findings {
				if f.Reason != "" && first == "" {
					first = f.Reason
				}
				if f.Reason != "" && f.Detail == "" || f.Name == "" || f.Want == "" {
					t.Errorf("incomplete finding: %+v", f)
				}
				headerRefused = headerRefused || f.Reason != "" && strings.HasPrefix(f.Name, "header ")
				if f.Name == "signature" && headerRefused && f.Skipped == "" {
					t.Errorf("the signature was not checked, and counts as valid: %+v", f)
				}
			}
			if got := providers.ReasonOf(err); got != c.want || first != got || e.OK() != (err == nil) {
				t.Errorf("Verify refuses for %q, Explain for %q; want %q", got, first, c.want)
			}
			hints := e.Hints()
			if (len(hints) == 0) != e.OK() || len(hints) > 0 && !strings.Contains(hints[0].Cause, c.cause) {
				t.Errorf("the hints for %+v are %q, want %q", e.Findings, hints, c.cause)
			}
		})
	}
}

// unsigned returns a token with alg none (RFC 7519, section 6).
func unsigned(claims map[string]any) string {
	payload, _ := json.Marshal(claims)
	return providertest.Assemble([]byte(`{"alg":"none","typ":"at+jwt"}`), payload, nil)
}

func TestExplainAppliesAllChecks(t *testing.T) {
	authority := providertest.NewIssuer(t)
	p := open(t, newSettings(t, authority.URL(), func(s *oidc.Settings) {
		s.JWKSURL, s.RequiredClaims, s.AudienceMode, s.AllowedClients = authority.KeysURL(),
			[]string{"token_use=access"}, "client_allow_list", []string{"web"}
	}), testResource)
	text := authority.Token(testResource, map[string]any{"iss": "https://other.example",
		"exp": time.Now().Add(-time.Hour).Unix(), "custom": "x\ny"})
	failed := func(live bool) (names []string, e token.Explanation) {
		e = p.(token.Explainer).Explain(context.Background(), text, live)
		for _, f := range e.Findings {
			if f.Reason != "" {
				names = append(names, f.Name)
			}
			if strings.ContainsAny(f.Got+f.Want+f.Detail, "\n") {
				t.Errorf("more than one line: %+v", f)
			}
		}
		return names, e
	}
	names, e := failed(true)
	if got := strings.Join(names, ", "); got != "claim iss, claim exp, claim token_use, claim client_id" {
		t.Errorf("refused for %s", got)
	}
	if len(e.Others) != 2 || e.Others[0].Name != "claim custom" || e.Others[0].Got != `"x\ny"` {
		t.Errorf("others: %+v", e.Others)
	}
	for _, f := range e.Findings {
		if f.Name == "claim exp" && !strings.Contains(f.Got, "1h ago") && !strings.Contains(f.Got, "1h0m ago") {
			t.Errorf("the expiry is not relative: %q", f.Got)
		}
	}
	before := authority.Fetches()
	_, e = failed(false)
	if last := e.Findings[len(e.Findings)-1]; last.Name != "signature" || last.Skipped == "" ||
		authority.Fetches() != before {
		t.Errorf("offline: %+v", last)
	}
}

func TestExplainIntrospectionResponse(t *testing.T) {
	r := newEndpoint(t, claims(map[string]any{"aud": "https://other.example"}))
	e := openIntrospecting(t, r, nil).(token.Explainer).Explain(context.Background(), opaque, true)
	if hints := e.Hints(); e.OK() || len(hints) == 0 || !strings.Contains(hints[0].Cause,
		"meant for another resource") {
		t.Errorf("got %+v", e)
	}
	for want, changes := range map[string]map[string]any{
		"it is a refresh token":                 {"token_use": "refresh_token"},
		"it is an ID token":                     {"typ": "ID"},
		"the introspection response has no exp": {"exp": nil},
		`the provider does not report it as a bearer access token: token_type is "DPoP",`: {"token_type": "DPoP"},
	} {
		hints := openIntrospecting(t, newEndpoint(t, claims(changes)),
			nil).(token.Explainer).Explain(context.Background(),
			opaque, true).Hints()
		if len(hints) == 0 || !strings.Contains(hints[0].Cause, want) ||
			strings.Contains(hints[0].Fix, "in server/README.md") {
			t.Errorf("%v is explained by %q, want %q", changes, hints, want)
		}
	}
	e = openIntrospecting(t, r, nil).(token.Explainer).Explain(context.Background(), opaque, false)
	if len(e.Findings) != 1 || e.Findings[0].Skipped == "" {
		t.Errorf("offline: %+v", e.Findings)
	}
}
