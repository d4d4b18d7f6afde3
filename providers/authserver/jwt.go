package authserver

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/rawjson"
)

const (
	jwtLeeway     = time.Minute
	maxJWTMember  = 512 // bytes of one text
	maxClientTime = 10 * time.Minute
)

var errMalformedJWT = errors.New("it is not a compact JWS of a JSON object")

// unverifiedJWT is a JWT that two parsers cannot read differently. Its signature is not checked.
type unverifiedJWT struct {
	jws     *jose.JSONWebSignature
	header  jwtMembers
	claims  jwtMembers
	payload []byte
}

// jwtMembers are JSON values by name.
type jwtMembers map[string]json.RawMessage

// parseJWT reads a compact JWS (RFC 7515, section 7.1) with one of the algorithms. It refuses members that occur twice
// or differ from those in names only in case, and header parameters that change how the rest must be read. The error
// contains no text from the token.
func parseJWT(text string, algorithms []jose.SignatureAlgorithm, names ...string) (*unverifiedJWT, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, errMalformedJWT
	}
	var decoded [3][]byte
	for n, part := range parts {
		var err error
		if decoded[n], err = decodeBase64URL(part); err != nil {
			return nil, errMalformedJWT
		}
	}
	header, err := readMembers(decoded[0], "alg", "typ", "kid", "crit", "b64")
	if err != nil {
		return nil, err
	}
	if header["crit"] != nil || header["b64"] != nil {
		return nil, errors.New("its header has crit or b64")
	}
	claims, err := readMembers(decoded[1], names...)
	if err != nil {
		return nil, err
	}
	jws, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil {
		return nil, errors.New("its algorithm is not accepted, or it is not a compact JWS")
	}
	return &unverifiedJWT{jws, header, claims, decoded[1]}, nil
}

func readMembers(raw []byte, names ...string) (jwtMembers, error) {
	values := make([]json.RawMessage, len(names))
	if !utf8.Valid(raw) || rawjson.Members(raw, values, names...) != nil {
		return nil, errMalformedJWT
	}
	members := make(jwtMembers, len(names))
	for n, name := range names {
		if values[n] != nil {
			members[name] = values[n]
		}
	}
	return members, nil
}

// text returns a member that is a string of a usable length, not empty.
func (m jwtMembers) text(name string) (string, bool) {
	text, ok := rawjson.Text(m[name])
	if !ok || text == "" || len(text) > maxJWTMember || strings.ContainsRune(text, utf8.RuneError) {
		return "", false
	}
	return text, true
}

// isOnly reports whether a member is want, or a list with want alone.
func (m jwtMembers) isOnly(name, want string) bool {
	texts, ok := rawjson.Texts(m[name])
	return ok && slices.Equal(texts, []string{want})
}

// time returns a NumericDate (RFC 7519, section 2).
func (m jwtMembers) time(name string) (time.Time, bool) {
	var seconds *float64
	if json.Unmarshal(m[name], &seconds) != nil || seconds == nil || *seconds < 0 || *seconds > 253402300799 {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(*seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true
}

// typ returns the media type in the header, in lower case and without "application/"; "" if there is none.
func (t *unverifiedJWT) typ() (string, bool) {
	if t.header["typ"] == nil {
		return "", true
	}
	text, ok := rawjson.Text(t.header["typ"])
	return strings.TrimPrefix(strings.ToLower(text), "application/"), ok
}

// keyID returns the kid of the header, or "".
func (t *unverifiedJWT) keyID() string {
	id, _ := rawjson.Text(t.header["kid"])
	return id
}

// verify reports whether one of the keys has signed the JWT.
func (t *unverifiedJWT) verify(keys []jose.JSONWebKey) bool {
	for _, key := range keys {
		if id := t.keyID(); id != "" && key.KeyID != "" && key.KeyID != id ||
			key.Algorithm != t.jws.Signatures[0].Header.Algorithm {
			continue
		}
		if payload, err := t.jws.Verify(key.Key); err == nil {
			return slices.Equal(payload, t.payload)
		}
	}
	return false
}
