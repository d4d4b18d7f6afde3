package authserver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"gatehouse/providers/authserver/seal"
)

// tokenKind distinguishes codes from refresh tokens. It is the prefix of the token and part of its MAC.
type tokenKind string

const (
	codeKind    tokenKind = "gc_"
	refreshKind tokenKind = "gr_"

	tokenMACSize   = 16
	maxTokenLength = 64 // of a token with the largest generation, rounded up
)

// grantID identifies a grant towards its client, in codes and refresh tokens. The store knows only its digest.
type grantID [16]byte

// newGrantID returns the id that a text determines, or a random one without a text.
func newGrantID(text string) (id grantID) {
	if text == "" {
		_, _ = rand.Read(id[:]) // never fails
		return id
	}
	sum := sha256.Sum256([]byte("grant " + text))
	return grantID(sum[:len(id)])
}

// digest names the grant where it must not be a credential: in the store, in access tokens, and for operators.
func (id grantID) digest() string {
	sum := sha256.Sum256(id[:])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// signInDigest is the digest of the grant that approve makes for this id.
func signInDigest(id string) string { return newGrantID(id).digest() }

// mintToken returns the token of one generation of a grant: KIND and, to base64url, ID GENERATION MAC. It is computed
// and not stored, so a token that is sent twice has the same successor on every replica. The code is generation 0.
func mintToken(k *seal.Keys, kind tokenKind, id grantID, generation uint64) string {
	plain := binary.AppendUvarint(id[:], generation)
	sum := k.MAC(seal.Token, string(kind)+string(plain))
	return string(kind) + base64.RawURLEncoding.EncodeToString(append(plain, sum[:tokenMACSize]...))
}

// readToken returns the grant and the generation of a token that these keys made for this kind. Anything else is
// refused without a look at the store, at the cost of one MAC for each secret.
func readToken(k *seal.Keys, kind tokenKind, token string) (id grantID, generation uint64, ok bool) {
	if len(token) > maxTokenLength || len(token) < len(kind) || token[:len(kind)] != string(kind) {
		return id, 0, false
	}
	text := token[len(kind):]
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder skips line breaks; a token has one spelling.
	if err != nil || len(raw) <= len(id)+tokenMACSize || base64.RawURLEncoding.EncodeToString(raw) != text {
		return id, 0, false
	}
	plain, sum := raw[:len(raw)-tokenMACSize], raw[len(raw)-tokenMACSize:]
	if !k.CheckMAC(seal.Token, string(kind)+string(plain), sum) {
		return id, 0, false
	}
	generation, n := binary.Uvarint(plain[len(id):])
	return grantID(plain[:len(id)]), generation, n == len(plain)-len(id)
}
