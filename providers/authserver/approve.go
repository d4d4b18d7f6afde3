package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"

	records "gatehouse/providers/authserver/store"
)

var (
	// errGrantExists means that a sign-in with this id has a grant already.
	errGrantExists = errors.New("the sign-in has a grant already")
	// errStoreUnavailable means that the store could not be reached; whether there is a grant is unknown.
	errStoreUnavailable = errors.New("the store is unavailable")
)

// approve creates the grant of a person who has signed in, and returns its code and the redirect to the client. The id
// identifies the sign-in across replicas; empty means a random one. The error wraps errGrantExists if there is a
// grant with this id, and errStoreUnavailable if the store does not answer.
func (i *Issuer) approve(ctx context.Context, a *authorization, who Person, id string) (
	code, target string, err error,
) {
	now := i.config.Now()
	if id != "" {
		err := i.config.Store.Create(ctx, records.Record{ID: "grant:" + id, Expires: now.Add(time.Hour)})
		switch {
		case errors.Is(err, records.ErrExists):
			return "", "", errGrantExists
		case err != nil:
			return "", "", fmt.Errorf("%w: %w", errStoreUnavailable, err)
		}
	}
	code = i.store.putCode(now, &grant{
		clientID: a.client.id,
		subject:  who.Subject,
		name:     who.Name,
		resource: a.resource,
		scopes:   a.scopes,
		authTime: now,
	}, a)
	target, err = i.responseURL(a, &op.CodeResponseType{Code: code, State: a.state})
	return code, target, err
}

// isSpent reports whether the client has exchanged a code.
func (i *Issuer) isSpent(code string) bool { return i.store.isSpent(i.config.Now(), code) }

// signInDigest identifies a sign-in in events. It is no credential.
func signInDigest(id string) string {
	digest := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(digest[:12])
}
