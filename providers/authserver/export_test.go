package authserver

import (
	"context"
	"testing"
	"time"

	"gatehouse/providers/authserver/seal"
	records "gatehouse/providers/authserver/store"
)

// Approve signs a person in to a client, as the callback of the provider does, and returns the code.
func (i *Issuer) Approve(ctx context.Context, r Request, who Person, id string) (code string, err error) {
	code, _, err = i.approve(ctx, &authorization{client: &client{id: r.ClientID, name: r.ClientID}, nonce: r.Nonce,
		redirectURI: r.RedirectURI, challenge: r.Challenge, resource: r.Resource, scopes: r.Scopes}, who, id)
	return code, err
}

// Request is the part of an authorization request that Approve needs.
type Request struct {
	ClientID, RedirectURI, Challenge, Resource, Nonce string
	Scopes                                            []string
}

// SetPatience shortens how long a refresh waits for another one, and for the store to save a credential.
func (i *Issuer) SetPatience(wait, save time.Duration) {
	p := i.recheck.(*providerRecheck)
	p.wait, p.patience = wait, save
}

// SignInDigest is the id in [SignIn] of the sign-in that Approve makes for an id.
func SignInDigest(id string) string { return signInDigest(id) }

// RecordContent is the content of a record.
func RecordContent(t *testing.T, k *seal.Keys, r records.Record) string {
	t.Helper()
	plain, err := openRecord(k, r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}
