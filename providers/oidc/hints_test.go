package oidc_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// explainToken explains text with settings for authority.
func explainToken(
	t *testing.T, authority *providertest.Issuer, text string, change func(*oidc.Settings),
) token.Explanation {
	t.Helper()
	p := open(t, newSettings(t, authority.URL(), func(s *oidc.Settings) {
		s.JWKSURL = authority.KeysURL()
		if change != nil {
			change(s)
		}
	}), testResource)
	return p.(token.Explainer).Explain(t.Context(), text, true)
}

// A token that is no signed JWT is named, with what to do instead. The token is not repeated.
func TestHintsNameForeignShapes(t *testing.T) {
	authority := providertest.NewIssuer(t)
	encode := base64.RawURLEncoding.EncodeToString
	jwe := encode([]byte(`{"alg":"dir","enc":"A256GCM","iss":"https://acme.eu.auth0.com/"}`)) + "..canary.canary.canary"
	good := authority.Token(testResource, nil)
	header, rest, _ := strings.Cut(good, ".")
	payload, _, _ := strings.Cut(rest, ".")
	const none = "eyJhbGciOiJub25lIn0" // {"alg":"none"}
	standard := base64.StdEncoding.EncodeToString([]byte(`{"alg":"RS256","x":"??>"}`))
	for name, c := range map[string]struct{ token, cause, fix string }{
		"an encrypted token":   {jwe, "it is encrypted (JWE", "request an audience"},
		"five other parts":     {"canary.a.b.c.d", "5 parts", "as the provider issued it"},
		"a JWT cut in two":     {header + "." + payload, "the beginning of a JWT", "copy the whole token"},
		"a header alone":       {header, "the beginning of a JWT", "copy the whole token"},
		"a JWT cut at its end": {header + "." + payload + ".", "a JWT without a signature", "as the provider issued it"},
		"an unsigned JWT":      {none + "." + payload + ".", "a JWT without a signature", "unsigned tokens"},
		"a shared secret": {
			base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + payload + ".Y2FuYXJ5",
			`it is signed by "HS256"`, "a shared secret, are never accepted",
		},
		"base64":               {standard + ".e30=.canary+/=", "are base64, and those of a JWT", "encodes it again"},
		"PASETO":               {"v4.public.canary", "a PASETO token", "issue JWTs"},
		"GitHub":               {"gho_canary", "a token of GitHub", "sign in at the provider"},
		"GitHub, fine-grained": {"github_pat_canary", "a token of GitHub", "sign in at the provider"},
		"GitLab":               {"glpat-canary", "GitLab", "sign in at the provider"},
		"Google":               {"ya29.canary", "an access token of Google", "provider.preset to google"},
		"Slack":                {"xoxb-canary", "a token of Slack", "sign in at the provider"},
		"an API key":           {"sk-canary", "an API key", "sign in at the provider"},
		"PEM":                  {"-----BEGIN canary", "in PEM", "sign in at the provider"},
		"SAML":                 {"<saml:Assertion canary>", "as a SAML assertion is", "sign in by OAuth"},
		"SAML in base64": {
			base64.StdEncoding.EncodeToString([]byte("<saml:Assertion>canary")), "as a SAML assertion is", "sign in by OAuth",
		},
		"opaque": {"canary", "an opaque token", "provider.introspection"},
	} {
		t.Run(name, func(t *testing.T) {
			e := explainToken(t, authority, c.token, nil)
			hints := e.Hints()
			if len(hints) == 0 || !strings.Contains(hints[0].Cause, c.cause) || !strings.Contains(hints[0].Fix, c.fix) {
				t.Fatalf("%q, want %q and %q", hints, c.cause, c.fix)
			}
			for _, h := range hints {
				if strings.Contains(h.Cause+h.Fix, "canary") {
					t.Errorf("it repeats the token: %q", h)
				}
			}
		})
	}
	// A provider that is asked about it calls it inactive: the shape is the cause.
	answer := newEndpoint(t, claims(map[string]any{"active": false}))
	hints := openIntrospecting(t, answer, nil).(token.Explainer).Explain(t.Context(), "gho_canary", true).Hints()
	if len(hints) != 1 || !strings.Contains(hints[0].Cause, "a token of GitHub") {
		t.Errorf("%q", hints)
	}
	hints = openIntrospecting(t, answer, nil).(token.Explainer).Explain(t.Context(), opaque, true).Hints()
	if len(hints) != 1 || !strings.Contains(hints[0].Fix, "sign in again: the token has expired or was revoked") {
		t.Errorf("%q", hints)
	}
}

// Audiences that tokens for other servers have, too, are never proposed: with one of them in
// provider.audiences, every such token would open this server. The fix is at the provider.
func TestHintsNeverProposeAForeignAudience(t *testing.T) {
	authority := providertest.NewIssuer(t)
	const (
		keycloak = "https://login.example.com/realms/main"
		entra    = "https://login.microsoftonline.com/6b5f0d1a-0000-4000-8000-000000000001/v2.0"
	)
	for name, c := range map[string]struct {
		issuer     string
		claims     map[string]any
		cause, fix string
	}{
		"Keycloak's account": {keycloak, map[string]any{"aud": "account"}, "in every token of the realm",
			"a mapper of type Audience with the Included Custom Audience \"" + testResource + `"`},
		"account among others": {keycloak, map[string]any{"aud": []string{"other", "account"}}, "account console",
			"a mapper of type Audience"},
		"no audience at Keycloak": {keycloak, map[string]any{"aud": nil}, "no audience", "a mapper of type Audience"},
		"Microsoft Graph": {entra, map[string]any{"aud": "00000003-0000-0000-c000-000000000000"}, "Microsoft Graph",
			"register this server as an application of its own"},
		"Microsoft Graph by its URL": {entra, map[string]any{"aud": "https://graph.microsoft.com"}, "Microsoft Graph",
			"Expose an API"},
		"the client itself": {"", map[string]any{"aud": []string{"c1", "c2"}, "client_id": "c2", "scope": "x"},
			"the client that requested it", "register this server there as a resource"},
		"the client of Okta": {"https://acme.okta.com/oauth2/default", map[string]any{"aud": "c1", "cid": "c1"},
			"the client that requested it", "a custom authorization server"},
		"the provider itself": {"https://acme.eu.auth0.com/", map[string]any{
			"aud": "https://acme.eu.auth0.com/userinfo"}, "this is the provider itself", "create an API with the identifier"},
		"another server": {"", map[string]any{"aud": "https://other.example.com/mcp"}, "meant for another resource",
			"register this server there as a resource"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := c.issuer
			if issuer == "" {
				issuer = authority.URL()
			}
			c.claims["iss"] = issuer
			e := explainToken(t, authority, authority.Token(testResource, c.claims),
				func(s *oidc.Settings) { s.Issuer = issuer })
			hints := e.Hints()
			i := slices.IndexFunc(hints, func(h token.Hint) bool { return strings.Contains(h.Cause, c.cause) })
			if i < 0 || !strings.Contains(hints[i].Fix, c.fix) {
				t.Fatalf("%q, want %q and %q", hints, c.cause, c.fix)
			}
			audience, isList := c.claims["aud"].([]string)
			if one, isText := c.claims["aud"].(string); !isList && isText {
				audience = []string{one}
			}
			for _, h := range hints {
				for _, value := range audience {
					if strings.Contains(h.Fix, `"`+value+`"`) || strings.Contains(h.Fix, "="+value) {
						t.Errorf("%q proposes %q", h.Fix, value)
					}
				}
				if strings.Contains(h.Fix, "provider.audiences") {
					t.Errorf("%q proposes to accept another audience", h.Fix)
				}
			}
		})
	}
}

func TestHintsForIssuers(t *testing.T) {
	authority := providertest.NewIssuer(t)
	const tenant = "6b5f0d1a-0000-4000-8000-000000000001"
	for name, c := range map[string]struct{ want, got, fix string }{
		"Entra's tokens of version 1.0": {"https://login.microsoftonline.com/" + tenant + "/v2.0",
			"https://sts.windows.net/" + tenant + "/", "requestedAccessTokenVersion"},
		"the inner address of the same provider": {"https://login.example.com/realms/main",
			"http://keycloak:8080/realms/main", "KC_HOSTNAME"},
		"another provider": {"https://login.example.com", "https://old.example.com", "sign in at the configured provider"},
	} {
		t.Run(name, func(t *testing.T) {
			e := explainToken(t, authority, authority.Token(testResource, map[string]any{"iss": c.got}),
				func(s *oidc.Settings) { s.Issuer = c.want })
			if hints := e.Hints(); len(hints) == 0 || !strings.Contains(hints[0].Fix, c.fix) {
				t.Errorf("%q, want %q", hints, c.fix)
			}
		})
	}
}

// An access token with nonce is refused by default. The setting that accepts it is named where nothing else
// is wrong.
func TestHintsNameTheIDTokenGuardForAccessTokens(t *testing.T) {
	authority := providertest.NewIssuer(t)
	for name, c := range map[string]struct {
		claims map[string]any
		named  bool
	}{
		"nonce":                  {map[string]any{"nonce": "n"}, true},
		"at_hash":                {map[string]any{"at_hash": "h"}, true},
		"c_hash, of ID tokens":   {map[string]any{"nonce": "n", "c_hash": "h"}, false},
		"of the client":          {map[string]any{"nonce": "n", "aud": "web", "azp": "web"}, false},
		"neither client nor scp": {map[string]any{"nonce": "n", "client_id": nil, "azp": nil, "scope": nil}, false},
		"expired, too":           {map[string]any{"nonce": "n", "exp": 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			hints := explainToken(t, authority, authority.Token(testResource, c.claims), nil).Hints()
			named := slices.ContainsFunc(hints, func(h token.Hint) bool {
				return strings.Contains(h.Fix, "provider.id_token_guard=false")
			})
			if named != c.named || len(hints) == 0 {
				t.Errorf("%q", hints)
			}
		})
	}
}

// Every reason for which a token can be refused has a fix, and the fix says more than the name of the reason.
func TestHintsHaveAFixForEveryReason(t *testing.T) {
	authority := providertest.NewIssuer(t)
	sign := func(header, claims map[string]any) string {
		full := map[string]any{"kid": authority.SigningKeyID()}
		for k, v := range header {
			full[k] = v
		}
		return authority.Sign(full, withChanges(authority.Claims(testResource), claims))
	}
	good := sign(nil, nil)
	inactive := newEndpoint(t, claims(map[string]any{"active": false}))
	refused := map[providers.Reason]token.Explanation{
		token.ReasonInactive: openIntrospecting(t, inactive, nil).(token.Explainer).Explain(t.Context(), opaque, true),
		token.ReasonClientRefused: explainToken(t, authority, sign(nil, nil), func(s *oidc.Settings) {
			s.AudienceMode, s.AllowedClients = "client_allow_list", []string{"other"}
		}),
		token.ReasonClaimMismatch: explainToken(t, authority, good, func(s *oidc.Settings) {
			s.RequiredClaims = []string{"token_use=access"}
		}),
	}
	for reason, text := range map[providers.Reason]string{
		token.ReasonTooLong:           strings.Repeat("x", 20<<10),
		token.ReasonOpaque:            "opaque",
		token.ReasonMalformed:         "eHh4.eHh4.eHh4",
		token.ReasonHeaderRefused:     sign(map[string]any{"crit": []string{"exp"}}, nil),
		token.ReasonAlgorithmRefused:  unsigned(authority.Claims(testResource)),
		token.ReasonTypeRefused:       sign(nil, map[string]any{"token_use": "refresh"}),
		token.ReasonClaimsMalformed:   sign(nil, map[string]any{"exp": "tomorrow"}),
		token.ReasonIssuerMismatch:    sign(nil, map[string]any{"iss": "https://old.example.com"}),
		token.ReasonAudienceMismatch:  sign(nil, map[string]any{"aud": "other"}),
		token.ReasonExpired:           sign(nil, map[string]any{"exp": 1}),
		token.ReasonExpiryMissing:     sign(nil, map[string]any{"exp": nil}),
		token.ReasonNotYetValid:       sign(nil, map[string]any{"nbf": 4102444800}),
		token.ReasonSubjectMissing:    sign(nil, map[string]any{"sub": nil}),
		token.ReasonIDToken:           sign(nil, map[string]any{"c_hash": "h"}),
		token.ReasonSenderConstrained: sign(nil, map[string]any{"cnf": map[string]any{"jkt": "x"}}),
		token.ReasonKeyUnknown:        sign(map[string]any{"kid": "gone"}, nil),
		token.ReasonSignatureInvalid:  good[:len(good)-12] + "AAAAAAAAAAAA",
	} {
		refused[reason] = explainToken(t, authority, text, nil)
	}
	for _, doc := range token.Reasons() {
		t.Run(string(doc.Code), func(t *testing.T) {
			e, ok := refused[doc.Code]
			if !ok {
				t.Fatal("no token of this test is refused for it")
			}
			if !slices.ContainsFunc(e.Findings, func(f token.Finding) bool { return f.Reason == doc.Code }) {
				t.Fatalf("it is refused for another reason: %+v", e.Findings)
			}
			for _, h := range e.Hints() {
				fix := strings.ReplaceAll(h.Fix, string(doc.Code), "")
				if len(strings.Fields(fix)) < 5 || strings.HasPrefix(h.Fix, "see ") || h.Cause == "" ||
					h.Fix == doc.Meaning {
					t.Errorf("%q", h)
				}
			}
			if len(e.Hints()) == 0 {
				t.Error("there is no hint")
			}
		})
	}
}
