package token

import (
	"encoding/json"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// typeClaims are the claims in which issuers state the type of a token: typ at Keycloak, type at Pocket ID,
// token_use at Cognito, Hydra and Dex, tokenType at Casdoor, token_type in introspection responses and with
// some libraries. No standard defines them for JWTs.
var typeClaims = []string{"typ", "type", "token_use", "token_type", "tokenType"}

// otherTypes are the values of these claims, normalized by [normalizeType], that no access token has: those
// of refresh tokens (RFC 6749, section 1.5), Keycloak's offline tokens, ID tokens (OpenID Connect Core,
// section 2), logout tokens (OpenID Connect Back-Channel Logout, section 2.4), and Keycloak's serialized ID
// tokens.
var otherTypes = []string{"refresh", "refreshtoken", "offline", "id", "idtoken", "logout", "logouttoken",
	"serializedid"}

// normalizeType removes the differences between issuers: refresh-token, refresh_token and RefreshToken are
// one type.
func normalizeType(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(s), "-", ""), "_", "")
}

// IsOtherType reports whether value, from a type claim, is the type of a token other than an access token.
func IsOtherType(value string) bool { return slices.Contains(otherTypes, normalizeType(value)) }

// IsTypeClaim reports whether name is one of typeClaims, normalized as their values are.
func IsTypeClaim(name []byte) bool {
	if len(name) == 0 || name[0]|0x20 != 't' || len(name) > 32 { // most names, without an allocation
		return false
	}
	switch normalizeType(string(name)) {
	case "typ", "type", "tokenuse", "tokentype":
		return true
	}
	return false
}

// otherType returns the first claim that states a type other than an access token, and its value.
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

// checkTypeClaims refuses a token that states another type than an access token. Issuers sign these with the
// same key, for the same audience and, at some, with the same scopes.
func checkTypeClaims(_ *Verifier, claims rawObject, _ *providers.Identity) error {
	if name, value, found := claims.otherType(); found {
		return providers.Invalidf(ReasonTypeRefused, "%s is %s, which is not the type of an access token",
			quotedUnlessPlain(name), quoted(value))
	}
	return nil
}

// introspectedTypes are the accepted types in an introspection response. token_type is Bearer or, for a token
// that is bound to a key, DPoP (RFC 7662, section 2.2); some issuers write access_token. token_use is Hydra's
// and Dex's.
var introspectedTypes = []struct {
	name     string
	accepted []string
}{{"token_type", []string{"bearer", "access_token"}}, {"token_use", []string{"access", "access_token"}}}

// checkIntrospectedType accepts only the types of bearer access tokens in an introspection response: a
// refresh token is active too. Both members are optional (RFC 7662, section 2.2).
func checkIntrospectedType(_ *Verifier, claims rawObject, _ *providers.Identity) error {
	for _, member := range introspectedTypes {
		raw, present := claims.claim(member.name)
		kind, isText := rawjson.Text(raw)
		matches := func(accepted string) bool { return normalizeType(accepted) == normalizeType(kind) }
		if present && (!isText || kind != "" && !slices.ContainsFunc(member.accepted, matches)) {
			return providers.Invalidf(ReasonTypeRefused, "%s is %s, accepted are %q", member.name,
				quotedValue(raw), member.accepted)
		}
	}
	return nil
}

// quotedValue is the encoded value of a member, quoted when the message is formatted: the content of a
// string, the JSON text of any other value.
type quotedValue json.RawMessage

// String implements fmt.Stringer.
func (q quotedValue) String() string {
	if text, ok := rawjson.Text(json.RawMessage(q)); ok {
		return providers.Quote(text)
	}
	return providers.Quote(string(q))
}
