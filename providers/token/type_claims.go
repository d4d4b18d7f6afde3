package token

import (
	"encoding/json"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// typeClaims are the claims in which issuers write what type of token a token is: typ at Keycloak, type at
// Pocket ID, token_use at Cognito, Hydra and Dex, tokenType at Casdoor, token_type in introspection answers
// and at some libraries. No standard defines them for JWTs.
var typeClaims = []string{"typ", "type", "token_use", "token_type", "tokenType"}

// otherTypes are the values of these claims, as [plainType] writes them, that no access token has: refresh
// tokens (RFC 6749, section 1.5), Keycloak's offline tokens, ID tokens (OpenID Connect Core, section 2),
// logout tokens (OpenID Connect Back-Channel Logout, section 2.4), and Keycloak's serialized ID tokens.
var otherTypes = []string{"refresh", "refreshtoken", "offline", "id", "idtoken", "logout", "logouttoken", "serializedid"}

// plainType removes the differences in spelling between issuers: refresh-token, refresh_token and
// RefreshToken are one type.
func plainType(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(s), "-", ""), "_", "")
}

// IsOtherType reports whether the value of a type claim is that of a token that is no access token.
func IsOtherType(value string) bool { return slices.Contains(otherTypes, plainType(value)) }

// IsTypeClaim reports whether a claim of this name is one of typeClaims. Another spelling counts as the same
// name, because the issuer that writes it means the same.
func IsTypeClaim(name []byte) bool {
	if len(name) == 0 || name[0]|0x20 != 't' || len(name) > 32 { // most names, without a copy
		return false
	}
	switch plainType(string(name)) {
	case "typ", "type", "tokenuse", "tokentype":
		return true
	}
	return false
}

// otherType returns the first claim by which a token calls itself something other than an access token, and
// its value.
func (o rawObject) otherType() (name, value string, found bool) {
	for _, m := range o {
		if !IsTypeClaim(m.name) {
			continue
		}
		if text, ok := rawjson.Text(m.value); ok && IsOtherType(text) {
			return string(m.name), text, true
		}
	}
	return "", "", false
}

// checkTypeClaims refuses a token that calls itself something other than an access token. An issuer signs
// these by the same key, for the same audience and, at some, with the same scopes.
func checkTypeClaims(_ *Verifier, claims rawObject, _ *providers.Identity) error {
	if name, value, found := claims.otherType(); found {
		return providers.Invalidf(ReasonTypeRefused, "%s is %s, which no access token is", quotedUnlessPlain(name), quoted(value))
	}
	return nil
}

// introspectedTypes are the types that an introspection answer may name. token_type is Bearer or, for a token
// that is bound to a key, DPoP (RFC 7662, section 2.2); some issuers write access_token. token_use is Hydra's
// and Dex's.
var introspectedTypes = []struct {
	name     string
	accepted []string
}{{"token_type", []string{"bearer", "access_token"}}, {"token_use", []string{"access", "access_token"}}}

// checkIntrospectedType accepts no types but those of bearer access tokens in an introspection answer: a
// refresh token is active, too. Both members are optional (RFC 7662, section 2.2).
func checkIntrospectedType(_ *Verifier, claims rawObject, _ *providers.Identity) error {
	for _, member := range introspectedTypes {
		raw, present := claims.claim(member.name)
		kind, isText := rawjson.Text(raw)
		named := func(accepted string) bool { return plainType(accepted) == plainType(kind) }
		if present && (!isText || kind != "" && !slices.ContainsFunc(member.accepted, named)) {
			return providers.Invalidf(ReasonTypeRefused, "%s is %s, accepted are %q", member.name, quotedValue(raw), member.accepted)
		}
	}
	return nil
}

// namesTokenType reports whether a required claim says what type of token it must be. Others, such as a
// tenant, ID tokens have too.
func (r Rules) namesTokenType() bool {
	return slices.ContainsFunc(r.RequiredClaims, func(c RequiredClaim) bool { return IsTypeClaim([]byte(c.Name)) })
}

// quotedValue is the value of a member, which is quoted when the detail is put together: the text of a
// string, the JSON text of anything else.
type quotedValue json.RawMessage

// String implements fmt.Stringer.
func (q quotedValue) String() string {
	if text, ok := rawjson.Text(json.RawMessage(q)); ok {
		return providers.Quote(text)
	}
	return providers.Quote(string(q))
}
