// Package store keeps the records of an authorization server: grants, used assertion ids and signing keys. All of
// them need the same two atomic operations: create a record if there is none, and replace it if nothing else has
// changed it.
package store

import (
	"context"
	"errors"
)

// The errors of a [Store]. Any other error means that the store could not be reached, or answered with an error of
// its own; whether the operation took effect is then unknown.
var (
	// ErrExists means that Create found a record with this id.
	ErrExists = errors.New("the record exists")
	// ErrNotFound means that there is no record with this id, or that it has expired.
	ErrNotFound = errors.New("no such record")
	// ErrChanged means that Replace found another version than the one that was read.
	ErrChanged = errors.New("the record was changed")
	// ErrInvalid means that an id, an owner, an expiry time or a content is outside the limits of [Record]: a mistake
	// of the caller. The store was not asked.
	ErrInvalid = errors.New("not a valid record")
)

// Unavailable reports whether err says that the store failed, so that the same call may succeed later. The errors of
// this package that answer a question, such as ErrExists, are not failures.
func Unavailable(err error) bool {
	for _, answer := range []error{ErrExists, ErrNotFound, ErrChanged, ErrInvalid} {
		if errors.Is(err, answer) {
			return false
		}
	}
	return err != nil
}

// Ping asks the store for a record that does not exist, as a check of readiness. It returns the error of a store that
// fails.
func Ping(ctx context.Context, s Store) error {
	if _, err := s.Get(ctx, "ping:"); Unavailable(err) {
		return err
	}
	return nil
}

// Store keeps records until they expire. Its methods may be called from several goroutines, and several processes
// may use one store at the same time if the implementation says so. Each method takes effect as a whole or not at all,
// and never calls anything else meanwhile. All of them return ErrInvalid for an argument outside the limits of
// [Record].
type Store interface {
	// Create stores a record of version 1. The error is ErrExists if there is one with this id that has not expired.
	Create(ctx context.Context, r Record) error
	// Get returns the record. The error is ErrNotFound if there is none, or if it has expired.
	Get(ctx context.Context, id string) (Record, error)
	// Replace stores r with the next version if the stored version is r.Version, and returns that version. The error is
	// ErrChanged if it is another, and ErrNotFound if there is no record. The owner of a record does not change.
	Replace(ctx context.Context, r Record) (version uint64, err error)
	// Delete removes a record. That there is none is not an error.
	Delete(ctx context.Context, id string) error
	// ByOwner returns up to limit records of an owner, sorted by id, that come after the id after; empty means from the
	// start. A page may have records that are about to expire, never expired ones.
	ByOwner(ctx context.Context, owner, after string, limit int) ([]Record, error)
	// All is ByOwner for the records of all owners.
	All(ctx context.Context, after string, limit int) ([]Record, error)
	// Close ends the use of the store. Records stay, unless they are in memory.
	Close() error
}
