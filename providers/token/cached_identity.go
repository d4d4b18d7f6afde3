package token

import (
	"encoding/json"
	"slices"
	"strings"

	"gatehouse/providers"
)

// cachedIdentity returns a copy of id to be cached, with claims as its claims. The copy does not refer to the
// token or the introspection response from which id was read, so that neither stays in memory.
func cachedIdentity(id *providers.Identity, claims rawObject) *providers.Identity {
	cached := *id
	cached.Audience, cached.Scopes = slices.Clone(id.Audience), slices.Clone(id.Scopes)
	details := providers.TokenDetails{Principal: id.Principal(), Scopes: id.TokenDetails().Scopes}
	if claims != nil {
		details.Claims = claims.compact()
	}
	cached.SetTokenDetails(details)
	return &cached
}

// identityBytes is about how many bytes of memory a cached identity takes, with its entry in the cache.
func identityBytes(id *providers.Identity) int {
	const fixed, perString, perMember = 512, 16, 48
	// The principal is a string of its own.
	size := fixed + 2*len(id.Issuer) + 2*len(id.Subject) + len(id.Client) + len(id.TokenID)
	for _, list := range [][]string{id.Audience, id.Scopes} {
		for _, s := range list {
			size += perString + len(s)
		}
	}
	claims, _ := id.TokenDetails().Claims.(rawObject)
	for _, m := range claims {
		size += perMember + len(m.name) + len(m.value)
	}
	return size
}

// compact returns a copy of o that does not refer to the document from which o was read, so that the document
// does not stay in memory.
func (o rawObject) compact() rawObject {
	size := 0
	for _, m := range o {
		size += len(m.name) + len(m.value)
	}
	text, members := make([]byte, 0, size), make(rawObject, len(o))
	put := func(part []byte) []byte {
		from := len(text)
		text = append(text, part...)
		return text[from:len(text):len(text)]
	}
	for i, m := range o {
		members[i] = member{name: put(m.name), value: json.RawMessage(put(m.value))}
	}
	return members
}

// callerIdentity is a copy of a cached identity for one caller, in one allocation if it has few scopes.
type callerIdentity struct {
	providers.Identity
	lists   [6]string // Audience and Scopes
	payload string    // of the token, encoded
}

// copyIdentity returns a copy of a cached identity that a caller may change: a tool that sorted the scopes of
// its caller must not sort those of the next call.
func copyIdentity(cached *providers.Identity) *callerIdentity {
	id := &callerIdentity{Identity: *cached}
	lists := append(append(id.lists[:0], cached.Audience...), cached.Scopes...)
	n := len(cached.Audience)
	if n > 0 {
		id.Audience = lists[:n:n]
	}
	if len(lists) > n {
		id.Scopes = lists[n:]
	}
	return id
}

// withClaimsOf makes id read its claims from the payload of token on demand. The payload is kept instead of
// the decoded claims, because few calls need them.
func (id *callerIdentity) withClaimsOf(token string) *providers.Identity {
	_, rest, _ := strings.Cut(token, ".")
	id.payload, _, _ = strings.Cut(rest, ".")
	details := id.TokenDetails()
	details.Claims = id
	id.SetTokenDetails(details)
	return &id.Identity
}

// Claims returns the claims for [providers.TokenDetails].
func (id *callerIdentity) Claims() map[string]json.RawMessage {
	raw, err := decodeSegment(id.payload)
	if err != nil {
		return nil // cannot happen: it was decoded when the token was verified
	}
	claims, _ := parseObject(raw, nil)
	return claims.members()
}
