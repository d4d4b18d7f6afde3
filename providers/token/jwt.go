package token

import (
	"encoding/base64"
	"errors"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// looksLikeJWT reports whether the first part of token is a JSON object, as in every JWT. Opaque tokens of
// some issuers contain dots too.
func looksLikeJWT(token string) bool {
	header, _, found := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(header)
	return found && err == nil && strings.HasPrefix(string(raw), "{")
}

// splitCompact returns the header and the payload of a compact JWS (RFC 7515, section 7.1), still encoded.
// Together with [decodeSegment] it accepts only one encoding of each token: the library would accept line
// breaks in a part and unused bits that are not zero at its end.
func splitCompact(token string, maxBytes int) (header, payload string, err error) {
	if len(token) > maxBytes {
		return "", "", providers.Invalidf(ReasonTooLong, "%d bytes, at most %d are accepted",
			len(token), maxBytes)
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if found && !strings.Contains(signature, ".") {
		return header, payload, nil
	}
	switch dots := strings.Count(token, "."); {
	case dots == 0:
		return "", "", providers.Invalidf(ReasonOpaque, "not a JWT: it has no parts")
	case strings.ContainsFunc(header, notBase64URL):
		return "", "", headerEncodingError(header)
	case dots == 4:
		return "", "", providers.Invalidf(ReasonMalformed, "5 parts, as an encrypted token (JWE) has; a signed JWT has 3")
	default:
		return "", "", providers.Invalidf(ReasonMalformed, "%d parts, a signed JWT has 3", dots+1)
	}
}

func headerEncodingError(header string) error {
	if strings.ContainsFunc(header, notBase64URL) {
		return providers.Invalidf(ReasonOpaque, "not a JWT: its first part is not base64url")
	}
	return providers.Invalidf(ReasonMalformed, "the header is not base64url")
}

func notBase64URL(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// decodeSegment decodes base64url without padding (RFC 7515, section 2). It refuses unused bits at the end
// that are not zero, and line breaks, which encoding/base64 skips.
func decodeSegment(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("it contains a line break")
	}
	return strictBase64URL.DecodeString(s)
}

var strictBase64URL = base64.RawURLEncoding.Strict()

var registeredHeaders = rawjson.NewNameSet(
	"alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "cty", "enc", "zip")

func parseHeader(encoded string) (rawObject, error) {
	raw, err := decodeSegment(encoded)
	if err != nil {
		return nil, headerEncodingError(encoded)
	}
	header, err := parseObject(raw, registeredHeaders)
	if err != nil {
		return nil, providers.Invalidf(ReasonMalformed, "header: %v", err)
	}
	return header, nil
}

// parseClaims returns the claims, and the decoded payload that they were read from.
func (v *Verifier) parseClaims(encoded string) (claims rawObject, raw []byte, err error) {
	if raw, err = decodeSegment(encoded); err != nil {
		return nil, nil, providers.Invalidf(ReasonMalformed, "the payload is not base64url")
	}
	if claims, err = parseObject(raw, v.knownClaims); err != nil {
		return nil, nil, providers.Invalidf(ReasonClaimsMalformed, "payload: %v", err)
	}
	return claims, raw, nil
}

// checkSignatureForm refuses a signature with unused bits at the end that are not zero, which the library
// would ignore.
func checkSignatureForm(token string) error {
	if _, err := decodeSegment(token[strings.LastIndexByte(token, '.')+1:]); err != nil {
		return providers.Invalidf(ReasonMalformed, "the signature is not base64url")
	}
	return nil
}
