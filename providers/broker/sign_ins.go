package broker

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
)

// ErrMemory means that the sign-ins are in the memory of another process.
var ErrMemory = errors.New("provider.store is memory: only the server that runs has the sign-ins")

// Access is how a store is opened.
type Access bool

// The ways to open a store.
const (
	ReadOnly  Access = false
	ReadWrite Access = true
)

// SignIns are the sign-ins in a store that no server of this process uses.
type SignIns struct {
	records store.Store
	keys    *seal.Keys
	issuer  string
}

// OpenSignIns opens the store, which must exist. The error wraps [store.ErrInUse] or is ErrMemory.
func (s *Settings) OpenSignIns(ctx context.Context, resource providers.Resource, access Access) (*SignIns, error) {
	if s.Store == store.InMemory {
		return nil, ErrMemory
	}
	keys, err := seal.Parse([]byte(s.Secrets.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("provider.secrets_file: %w", err)
	}
	// A file that is created here would hide that the setting names another one than the server has.
	records, err := s.openStore(ctx, ReadOnly)
	if err == nil && access == ReadWrite {
		if err = records.Close(); err == nil {
			records, err = s.openStore(ctx, ReadWrite)
		}
	}
	if err != nil {
		return nil, err
	}
	return &SignIns{records, keys, resource.Origin()}, nil
}

// Close closes the store.
func (s *SignIns) Close() error { return s.records.Close() }

// List is [authserver.ListSignIns].
func (s *SignIns) List(ctx context.Context, f authserver.SignInFilter, after string, limit int) (
	[]authserver.SignIn, string, error,
) {
	return authserver.ListSignIns(ctx, s.records, s.keys, f, after, limit)
}

// RotateKeys replaces the key that signs tokens. With withdraw, tokens of the keys of before are refused.
func (s *SignIns) RotateKeys(ctx context.Context, withdraw bool) error {
	return authserver.RotateStoredKeys(ctx, authserver.Config{
		Issuer: s.issuer, SigningAlgorithm: string(signingAlgorithm), AccessTokenLifetime: tokenLifetime,
		Store: s.records, Keys: s.keys,
	}, !withdraw)
}

// End is [authserver.EndSignIns].
func (s *SignIns) End(ctx context.Context, f authserver.SignInFilter) (int, error) {
	return authserver.EndSignIns(ctx, s.records, s.keys, f)
}
