package providertest

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// trapPath is where tokens point to. An adapter must not request it.
const trapPath = "/trap"

func (i *Issuer) trap() string { return i.URL() + trapPath }

// checkTrap returns an error if a token caused a request.
func (i *Issuer) checkTrap() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for path, n := range i.requests {
		if strings.Contains(path, trapPath) {
			return fmt.Errorf("tokens made the adapter request %s %d times", path, n)
		}
	}
	return nil
}

// untrustedKeyAttacks are tokens signed by the attacker's own key, with a header that supplies it.
func untrustedKeyAttacks(o *openAdapter) []attack {
	private := newKey(o.Issuer.t, o.base.algorithm())
	ours := func(changes m) string { return o.base.signedBy(private, changes) }
	public := jose.JSONWebKey{Key: private.Public(), KeyID: "mallory", Algorithm: string(o.base.algorithm()),
		Use: "sig"}
	invalid, unknown := oneOf(token.ReasonSignatureInvalid), oneOf(token.ReasonKeyUnknown)
	malformed := oneOf(token.ReasonMalformed, token.ReasonHeaderRefused, token.ReasonSignatureInvalid)
	trap := o.Issuer.trap()
	attacks := []attack{
		{"own key in jwk", ours(m{"jwk": public}), invalid},
		{"own key in jwk, with its own kid", ours(m{"jwk": public, "kid": "mallory"}), unknown},
		{"private key in jwk", ours(m{"jwk": jose.JSONWebKey{Key: private}}), malformed},
		{"jwk that is a string", ours(m{"jwk": "x"}), malformed},
		{"own certificate in x5c", ours(m{"x5c": []string{selfSigned(private)}}), invalid},
		{"x5c without a certificate", ours(m{"x5c": []string{"x"}}), malformed},
		{"keys by jku", ours(m{"jku": trap + "/jwks"}), invalid},
		{"keys by jku, with its own kid", ours(m{"jku": trap + "/jwks", "kid": "mallory"}), unknown},
		{"certificate by x5u", ours(m{"x5u": trap + "/cert"}), invalid},
		{"kid that is a number", ours(m{"kid": 1}),
			oneOf(token.ReasonMalformed, token.ReasonHeaderRefused, token.ReasonKeyUnknown)},
	}
	for name, kid := range map[string]string{
		"a URL": trap + "/jwks", "a path": "../../../../dev/null", "SQL": "' UNION SELECT 'secret' --",
		"a command": "| curl " + trap,
		"CRLF":      "a\r\nX-Injected: 1", "NUL": strings.Repeat("\x00", 150), "long": strings.Repeat("k", 5000),
		"hidden": strings.Repeat("\U000e0001", 300),
	} {
		attacks = append(attacks, attack{"kid is " + name, ours(m{"kid": kid}), unknown})
	}
	return attacks
}

func selfSigned(private crypto.Signer) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	return base64.StdEncoding.EncodeToString(certificate)
}

// criticalAttacks declare header parameters that must be understood.
func criticalAttacks(o *openAdapter) []attack {
	var attacks []attack
	for name, changes := range map[string]m{
		"crit with an unknown name": {"crit": []string{"x"}, "x": true},
		"crit with exp":             {"crit": []string{"exp"}, "exp": 1},
		"crit with b64":             {"crit": []string{"b64"}, "b64": true},
		"crit empty":                {"crit": []string{}},
		"crit null":                 {"crit": null},
		"crit that is a string":     {"crit": "x", "x": true},
		"b64 false":                 {"b64": false},
		"b64 false and crit":        {"b64": false, "crit": []string{"b64"}},
	} {
		attacks = append(attacks, attack{name, o.base.withHeader(changes), oneOf(token.ReasonHeaderRefused)})
	}
	return attacks
}

// tokenTypeAttacks are validly signed JWTs of the right issuer that are not access tokens.
func tokenTypeAttacks(o *openAdapter) []attack {
	refused, idToken := oneOf(token.ReasonTypeRefused), oneOf(token.ReasonIDToken)
	accepted := o.types()
	var attacks []attack
	for _, typ := range []any{
		"JWT", "jwt", "at+jwt", "", " at+jwt", "at+jwt ", "at jwt", "application/",
		"application/application/at+jwt", "text/at+jwt", "at+jwt+json", "absent",
		"dpop+jwt", "logout+jwt", "secevent+jwt", "id_token", "ID", "Refresh", "refresh+jwt",
		"token-introspection+jwt", "oauth-authz-req+jwt", "kb+jwt",
		7, []string{"at+jwt"}, strings.Repeat("t", 4000),
	} {
		if name, ok := typ.(string); ok && name != "" && accepted[strings.ToLower(name)] != nil {
			continue
		}
		attacks = append(attacks, attack{fmt.Sprintf("typ %.40q", fmt.Sprint(typ)),
			o.base.withHeader(m{"typ": typ}), refused})
	}
	attacks = append(attacks, attack{"typ null", o.base.withHeader(m{"typ": null}), refused})
	if accepted[""] == nil {
		attacks = append(attacks, attack{"typ missing", o.base.withHeader(m{"typ": nil}), refused})
	}
	for typ, template := range accepted {
		add := func(name string, want []providers.Reason, changes m) {
			attacks = append(attacks, attack{fmt.Sprintf("%s, with typ %q", name, typ), template.withClaims(changes),
				want})
		}
		add("ID token with nonce", idToken, m{"nonce": canary})
		add("ID token with at_hash", idToken, m{"at_hash": canary})
		add("ID token with c_hash", idToken, m{"c_hash": canary})
		add("ID token of the code flow", idToken,
			m{"nonce": canary, "at_hash": canary, "scope": nil, "client_id": nil, "azp": "test-client"})
		add("logout token", refused, m{"events": m{"http://schemas.openid.net/event/backchannel-logout": m{}}})
		// An adapter that accepts tokens without client and scopes cannot detect this one by its claims.
		bare := m{}
		for name := range template.claims {
			bare[name] = nil
		}
		for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "canary"} {
			delete(bare, name)
		}
		if template.want.Client != "" || template.want.Scopes != nil {
			add("ID token with the required claims only", nil, bare)
		}
	}
	return attacks
}

// otherTokenTypes are what issuers call tokens that are not access tokens, in their spellings.
var otherTokenTypes = []string{
	"refresh", "Refresh", "refresh_token", "refresh-token", "refreshToken", "REFRESH_TOKEN", "Offline",
	"offline",
	"ID", "id", "id_token", "id-token", "idToken", "Logout", "logout", "logout_token", "logout-token",
	"Serialized-ID", "serialized_id", "serializedId",
}

// typeClaimAttacks are access tokens except for a claim that names another type. Their header does not
// show the type, as with most issuers.
func typeClaimAttacks(o *openAdapter) []attack {
	var attacks []attack
	for typ, template := range o.types() {
		for _, claim := range []string{"typ", "type", "token_use", "token_type", "tokenType"} {
			values := otherTokenTypes
			if claim != "typ" {
				values = []string{"refresh-token", "Refresh_Token", "id"} // the spellings of typ cover the rest
			}
			for _, value := range values {
				name := fmt.Sprintf("%s is %s, with typ %q", claim, value, typ)
				attacks = append(attacks, attack{name, template.withClaims(m{claim: value}),
					oneOf(token.ReasonTypeRefused)})
			}
		}
	}
	return attacks
}
