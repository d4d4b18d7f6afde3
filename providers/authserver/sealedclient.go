package authserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
	"gatehouse/providers/authserver/seal"
)

const (
	// The prefixes of ids: the version of the format, and the kind of the client.
	sealedPublicPrefix       = "reg2p."
	sealedConfidentialPrefix = "reg2c."

	maxSealedRedirectURIs = 8
	maxSealedRegistration = 1500 // bytes of JSON
	sealOverhead          = 12 + 16
	clientSecretBytes     = 32
)

// sealedIDs are the [clientIDs] for people who sign in at another provider. An id is the registration itself, sealed:
//
//	reg2p.SEALED (public), reg2c.SEALED (confidential)
//
// SEALED is base64url of an AES-GCM box with the JSON of a [sealedRegistration]. The issuer and the kind are its
// additional data, so that an id is of no use at another issuer, and a confidential client cannot be made public. The
// secret of a confidential client is a MAC of its id.
//
// So a registration costs nothing, is the same on every replica, and survives restarts; none can evict, exhaust or
// overwrite another. In turn one client alone can only be refused by [ClientPolicy.Denied]. A secret that is removed
// from the keys ends the registrations that it sealed.
//
// The other end of the bargain is that anyone can make the server open invented ids. One costs a few microseconds,
// less than the request that brings it: the length is bounded before the id is decoded, and nothing is looked up. Each
// failure counts as a failed authentication of the sender's address ([providers.RecordFailure]). Above the limit of
// the server it is answered with 429 in place of 401, after which clients would register again. Like bad tokens, only
// failures are limited: a good id is served, and so are others behind the same address.
type sealedIDs struct {
	keys   *seal.Keys
	issuer string
	rules  clientRules
	// lifetime is how long a registration is valid; 0 means for as long as the keys.
	lifetime time.Duration
	now      func() time.Time
}

// sealedRegistration is the content of an id.
type sealedRegistration struct {
	RedirectURIs []string         `json:"r"`
	Name         string           `json:"n,omitempty"`
	GrantTypes   []oidc.GrantType `json:"g"`
	AuthMethod   oidc.AuthMethod  `json:"m"`
	Issued       int64            `json:"t"` // seconds since 1970
}

// issue implements [clientIDs].
func (ids sealedIDs) issue(m clientMetadata) (registration, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // "&" in a query would take six bytes
	err := encoder.Encode(sealedRegistration{m.RedirectURIs, m.ClientName, m.GrantTypes, m.TokenEndpointAuthMethod,
		ids.now().Unix()})
	if err != nil {
		return registration{}, err
	}
	if plain.Len() > maxSealedRegistration {
		return registration{}, invalidMetadata("redirect_uris and client_name together are longer than about " +
			strconv.Itoa(maxSealedRegistration) + " bytes; the client_id contains them")
	}
	prefix := sealedPublicPrefix
	if m.TokenEndpointAuthMethod != oidc.AuthMethodNone {
		prefix = sealedConfidentialPrefix
	}
	var r registration
	for range 8 {
		r.id = prefix + base64.RawURLEncoding.EncodeToString(
			ids.keys.Seal(seal.Client, ids.context(prefix), plain.Bytes()))
		if !strings.Contains(r.id, "eyJ") { // scanners that search logs for tokens would report it
			break
		}
	}
	if prefix == sealedConfidentialPrefix {
		r.secret = base64.RawURLEncoding.EncodeToString(ids.keys.MAC(seal.Secret, r.id))
		if ids.lifetime > 0 {
			r.secretExpires = ids.now().Add(ids.lifetime).Unix()
		}
	}
	return r, nil
}

// context is the additional data of ids with a prefix.
func (ids sealedIDs) context(prefix string) string { return prefix + " " + ids.issuer }

// read implements [clientIDs].
func (ids sealedIDs) read(ctx context.Context, id string) (*client, error) {
	known, ok := ids.open(id)
	if !ok {
		if providers.RecordFailure(ctx) > 0 {
			return nil, errTooManyUnknownClients()
		}
		return nil, errUnopenedClient()
	}
	if ids.lifetime > 0 && ids.now().Sub(time.Unix(known.Issued, 0)) >= ids.lifetime {
		return nil, errExpiredRegistration()
	}
	m := clientMetadata{
		RedirectURIs: known.RedirectURIs, ClientName: known.Name, GrantTypes: known.GrantTypes,
		TokenEndpointAuthMethod: known.AuthMethod,
	}
	// The rules may be stricter now than when the client registered.
	if ids.rules.checkRegistration(&m) != nil {
		return nil, errRefusedRedirects()
	}
	c := &client{id: id, name: m.ClientName, origin: dynamic, redirectURIs: m.RedirectURIs, grantTypes: m.GrantTypes}
	if strings.HasPrefix(id, sealedConfidentialPrefix) {
		c.secret = func(presented string) bool {
			sum, err := decodeBase64URL(presented)
			return err == nil && len(sum) == clientSecretBytes && ids.keys.CheckMAC(seal.Secret, id, sum)
		}
	}
	return c, nil
}

// open returns the registration in an id that issue returned, here or at another replica.
func (ids sealedIDs) open(id string) (known sealedRegistration, ok bool) {
	prefix := id[:min(len(id), len(sealedPublicPrefix))]
	if prefix != sealedPublicPrefix && prefix != sealedConfidentialPrefix {
		return known, false
	}
	encoded := id[len(prefix):]
	if len(encoded) > base64.RawURLEncoding.EncodedLen(maxSealedRegistration+sealOverhead) {
		return known, false
	}
	sealed, err := decodeBase64URL(encoded)
	if err != nil {
		return known, false
	}
	plain, err := ids.keys.Open(seal.Client, ids.context(prefix), sealed)
	if err != nil || json.Unmarshal(plain, &known) != nil {
		return known, false
	}
	return known, true
}

// decodeBase64URL accepts one spelling of each value: the library skips line breaks.
func decodeBase64URL(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("it contains a line break")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// used implements [clientIDs].
func (sealedIDs) used(*client) {}

// shortenSealedID returns the prefix and the end of an id, for pages and logs.
func shortenSealedID(id string) (short string, ok bool) {
	prefix, rest, ok := strings.Cut(id, ".")
	if !ok || prefix+"." != sealedPublicPrefix && prefix+"." != sealedConfidentialPrefix || len(rest) < 12 {
		return id, false
	}
	return prefix + ".…" + rest[len(rest)-12:], true
}
