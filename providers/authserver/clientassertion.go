package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	records "gatehouse/providers/authserver/store"
)

// maxMemoryRecords limits the records of an issuer without a store.
const maxMemoryRecords = 10_000

// acceptsClientAssertions reports whether clients may authenticate with private_key_jwt: if the operator names one that
// a document describes.
func (i *Issuer) acceptsClientAssertions() bool {
	for _, id := range i.config.ClientPolicy.EnterpriseClients {
		if strings.HasPrefix(id, "https://") {
			return true
		}
	}
	return false
}

// authenticateByAssertion returns the client that a client assertion authenticates (RFC 7523, section 3): the client of
// a document, with the keys that it publishes. A client that may do without is not worth more for it: what a client
// may do depends on the operator.
func (i *Issuer) authenticateByAssertion(ctx context.Context, id, assertion string) (*client, error) {
	fail := func(detail string) (*client, error) {
		i.config.Logger.InfoContext(ctx, "client assertion refused", slog.String("detail", detail),
			slog.String("reason", string(reasonClientAuthentication)))
		return nil, errAuthentication()
	}
	token, err := parseJWT(assertion, clientAssertionAlgorithms(), "iss", "sub", "aud", "exp", "iat", "nbf", "jti")
	if err != nil {
		return fail(err.Error())
	}
	// Only these types, if one is stated: no other JWT must pass as a client assertion (RFC 8725, section 3.11).
	if typ, ok := token.typ(); !ok || typ != "" && typ != "jwt" && typ != "client-authentication+jwt" {
		return fail("its type is not that of a client assertion")
	}
	issuer, ok := token.claims.text("iss")
	subject, isText := token.claims.text("sub")
	if !ok || !isText || issuer != subject || id != "" && id != subject {
		return fail("iss and sub are not the client")
	}
	if !token.claims.isOnly("aud", i.config.Issuer) {
		return fail("aud is not this issuer")
	}
	expires, err := i.checkClientTimes(token.claims)
	if err != nil {
		return fail(err.Error())
	}
	assertionID, ok := token.claims.text("jti")
	if !ok {
		return fail("jti is missing or not a text")
	}
	c, err := i.findClient(ctx, subject)
	if err != nil {
		return nil, tokenEndpointError(err)
	}
	if c.keys == nil {
		return fail("the client has no keys")
	}
	keys, err := i.fetcher.keysOf(ctx, c.keys, token.keyID())
	if err != nil {
		return nil, tokenEndpointError(err)
	}
	if !token.verify(keys) {
		return fail("no key of the client verifies the signature")
	}
	if !i.isEnterprise(c) {
		return c, nil // it may do without, so a repeat gains nothing, and a stranger must not fill the store
	}
	switch err := i.useOnce(ctx, "client", subject, assertionID, expires); {
	case errors.Is(err, records.ErrExists):
		return fail("it was used before")
	case err != nil:
		return nil, i.unavailable(ctx, storeUnavailable(err))
	}
	return c, nil
}

// checkClientTimes returns when the assertion ends for us. What it allows must be short: until then its jti is stored.
func (i *Issuer) checkClientTimes(claims jwtMembers) (expires time.Time, err error) {
	now := i.config.Now()
	expires, ok := claims.time("exp")
	switch {
	case !ok:
		return expires, errors.New("exp is missing or not a time")
	case !now.Before(expires.Add(jwtLeeway)):
		return expires, errors.New("it has expired")
	case expires.After(now.Add(maxClientTime + jwtLeeway)):
		return expires, errors.New("exp is too far in the future")
	}
	for _, name := range []string{"iat", "nbf"} { // optional (RFC 7523, section 3)
		if claims[name] == nil {
			continue
		}
		if start, ok := claims.time(name); !ok || start.After(now.Add(jwtLeeway)) {
			return expires, errors.New(name + " is not a time, or in the future")
		}
	}
	return expires, nil
}

// useOnce stores that the assertion of an issuer was used, for as long as a replica accepts it, also one whose clock is
// behind that of the store. All replicas share the store. The error is [records.ErrExists] if it was used before, else
// one of the store.
func (i *Issuer) useOnce(ctx context.Context, kind, issuer, id string, expires time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	digest := sha256.Sum256([]byte(kind + "\x00" + issuer + "\x00" + id))
	return i.config.Store.Create(ctx, records.Record{ID: "jti:" + hex.EncodeToString(digest[:]),
		Expires: expires.Add(jwtLeeway + clockSkew)})
}

// isEnterprise reports whether a client may exchange identity assertions.
func (i *Issuer) isEnterprise(c *client) bool {
	return slices.Contains(i.config.ClientPolicy.EnterpriseClients, c.id)
}
