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

// trapPath is where tokens ask to be looked up. Nobody may ever come.
const trapPath = "/trap"

func (i *Issuer) trap() string { return i.URL() + trapPath }

// trapped returns an error if a token made the adapter send a request.
func (i *Issuer) trapped() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for path, n := range i.requests {
		if strings.Contains(path, trapPath) {
			return fmt.Errorf("tokens made the adapter ask for %s, %d times", path, n)
		}
	}
	return nil
}

// selfServiceAttacks are what an attacker can do who has only keys of his own: a header that recommends them.
func selfServiceAttacks(o *opened) []attack {
	private := newKey(o.Issuer.t, o.base.algorithm())
	ours := func(changes m) string { return o.base.by(private, changes) }
	public := jose.JSONWebKey{Key: private.Public(), KeyID: "mallory", Algorithm: string(o.base.algorithm()), Use: "sig"}
	invalid, unknown := because(token.ReasonSignatureInvalid), because(token.ReasonKeyUnknown)
	odd := because(token.ReasonMalformed, token.ReasonHeaderRefused, token.ReasonSignatureInvalid)
	trap := o.Issuer.trap()
	attacks := []attack{
		{"brings its own key in jwk", ours(m{"jwk": public}), invalid},
		{"brings its own key in jwk, by its own id", ours(m{"jwk": public, "kid": "mallory"}), unknown},
		{"brings a private key in jwk", ours(m{"jwk": jose.JSONWebKey{Key: private}}), odd},
		{"brings a jwk that is none", ours(m{"jwk": "x"}), odd},
		{"brings its own certificate in x5c", ours(m{"x5c": []string{selfSigned(private)}}), invalid},
		{"brings an x5c that is none", ours(m{"x5c": []string{"x"}}), odd},
		{"points to keys by jku", ours(m{"jku": trap + "/jwks"}), invalid},
		{"points to keys by jku, by its own id", ours(m{"jku": trap + "/jwks", "kid": "mallory"}), unknown},
		{"points to a certificate by x5u", ours(m{"x5u": trap + "/cert"}), invalid},
		{"key id that is a number", ours(m{"kid": 1}), because(token.ReasonMalformed, token.ReasonHeaderRefused, token.ReasonKeyUnknown)},
	}
	for name, kid := range map[string]string{
		"a URL": trap + "/jwks", "a path": "../../../../dev/null", "SQL": "' UNION SELECT 'secret' --", "a command": "| curl " + trap,
		"CRLF": "a\r\nX-Injected: 1", "NUL": strings.Repeat("\x00", 150), "long": strings.Repeat("k", 5000), "hidden": strings.Repeat("\U000e0001", 300),
	} {
		attacks = append(attacks, attack{"key id is " + name, ours(m{"kid": kid}), unknown})
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

// criticalAttacks say that they must be read in another way.
func criticalAttacks(o *opened) []attack {
	var attacks []attack
	for name, changes := range map[string]m{
		"crit with what nobody knows": {"crit": []string{"x"}, "x": true},
		"crit with exp":               {"crit": []string{"exp"}, "exp": 1},
		"crit with b64":               {"crit": []string{"b64"}, "b64": true},
		"crit empty":                  {"crit": []string{}},
		"crit null":                   {"crit": null},
		"crit that is no list":        {"crit": "x", "x": true},
		"b64 false":                   {"b64": false},
		"b64 false and crit":          {"b64": false, "crit": []string{"b64"}},
	} {
		attacks = append(attacks, attack{name, o.base.headed(changes), because(token.ReasonHeaderRefused)})
	}
	return attacks
}

// otherKindAttacks are good signatures of the right issuer over something that is no access token.
func otherKindAttacks(o *opened) []attack {
	refused, idToken := because(token.ReasonTypeRefused), because(token.ReasonIDToken)
	accepted := o.types()
	var attacks []attack
	for _, typ := range []any{
		"JWT", "jwt", "at+jwt", "", " at+jwt", "at+jwt ", "at jwt", "application/", "application/application/at+jwt", "text/at+jwt", "at+jwt+json", "absent",
		"dpop+jwt", "logout+jwt", "secevent+jwt", "id_token", "ID", "Refresh", "refresh+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "kb+jwt",
		7, []string{"at+jwt"}, strings.Repeat("t", 4000),
	} {
		if said, ok := typ.(string); ok && said != "" && accepted[strings.ToLower(said)] != nil {
			continue
		}
		attacks = append(attacks, attack{fmt.Sprintf("typ %.40q", fmt.Sprint(typ)), o.base.headed(m{"typ": typ}), refused})
	}
	attacks = append(attacks, attack{"typ null", o.base.headed(m{"typ": null}), refused})
	if accepted[""] == nil {
		attacks = append(attacks, attack{"typ missing", o.base.headed(m{"typ": nil}), refused})
	}
	for typ, mint := range accepted {
		add := func(name string, want []providers.Reason, changes m) {
			attacks = append(attacks, attack{fmt.Sprintf("%s, with typ %q", name, typ), mint.with(changes), want})
		}
		add("ID token with nonce", idToken, m{"nonce": canary})
		add("ID token with at_hash", idToken, m{"at_hash": canary})
		add("ID token with c_hash", idToken, m{"c_hash": canary})
		add("ID token of the code flow", idToken, m{"nonce": canary, "at_hash": canary, "scope": nil, "client_id": nil, "azp": "test-client"})
		add("logout token", refused, m{"events": m{"http://schemas.openid.net/event/backchannel-logout": m{}}})
		// Whoever accepts tokens that name neither a client nor scopes cannot tell this one by its claims.
		bare := m{}
		for name := range mint.claims {
			bare[name] = nil
		}
		for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "canary"} {
			delete(bare, name)
		}
		if mint.want.Client != "" || mint.want.Scopes != nil {
			add("ID token with next to nothing in it", nil, bare)
		}
	}
	return attacks
}

// ownTypes are what tokens that are no access tokens say of themselves, as issuers spell it.
var ownTypes = []string{
	"refresh", "Refresh", "refresh_token", "refresh-token", "refreshToken", "REFRESH_TOKEN", "Offline", "offline",
	"ID", "id", "id_token", "id-token", "idToken", "Logout", "logout", "logout_token", "logout-token",
	"Serialized-ID", "serialized_id", "serializedId",
}

// ownTypeAttacks are good access tokens in everything but what a claim calls them. The header says nothing,
// as it does at most issuers.
func ownTypeAttacks(o *opened) []attack {
	var attacks []attack
	for typ, mint := range o.types() {
		for _, claim := range []string{"typ", "type", "token_use", "token_type", "tokenType"} {
			values := ownTypes
			if claim != "typ" {
				values = []string{"refresh-token", "Refresh_Token", "id"} // the spellings are those of typ
			}
			for _, value := range values {
				name := fmt.Sprintf("%s is %s, with typ %q", claim, value, typ)
				attacks = append(attacks, attack{name, mint.with(m{claim: value}), because(token.ReasonTypeRefused)})
			}
		}
	}
	return attacks
}
