// Package storetest has the test suite that every [store.Store] passes.
package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver/store"
)

// Subject is the store under test, without records.
type Subject struct {
	// Stores share their records: one store, or two clients of the same server.
	Stores []store.Store
	// Now returns the time of the stores.
	Now func() time.Time
	// Advance moves that time. If it is nil, the suite waits.
	Advance func(time.Duration)
}

// Run runs the suite. It calls open once for each test; what open starts must end with the test.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	tests := []struct {
		name string
		run  func(t *testing.T, s Subject)
	}{
		{"a record comes back as it was created", testRoundTrip},
		{"create refuses a record that exists", testExists},
		{"replace needs the stored version", testReplace},
		{"delete removes a record from all lists", testDelete},
		{"a record ends when it expires", testExpiry},
		{"replace moves the expiry", testExpiryMoves},
		{"the content belongs to the store", testContentIsCopied},
		{"arguments outside the limits are refused", testLimits},
		{"a list has pages", testPages},
		{"a list of an owner has no record of another", testOwners},
		{"40 creates at once have one winner", testCreateRace},
		{"40 replaces at once have one winner", testReplaceRace},
		{"counters lose no step", testCounter},
		{"random operations answer as a map does", testRandom},
		{"a store that works is available", testPing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// first and last are the same store if there is only one.
func (s Subject) first() store.Store { return s.Stores[0] }
func (s Subject) last() store.Store  { return s.Stores[len(s.Stores)-1] }

// short is a lifetime that the suite waits for.
func (s Subject) short() time.Duration {
	if s.Advance != nil {
		return time.Minute
	}
	return 300 * time.Millisecond
}

// expire lets the lifetime pass that short returns.
func (s Subject) expire() {
	if s.Advance != nil {
		s.Advance(s.short())
		return
	}
	time.Sleep(s.short() + 50*time.Millisecond)
}

// record returns a record that lives for an hour.
func (s Subject) record(id, owner, content string) store.Record {
	return store.Record{ID: id, Owner: owner, Expires: s.Now().Add(time.Hour), Sealed: []byte(content)}
}

func create(t *testing.T, s store.Store, records ...store.Record) {
	t.Helper()
	for _, r := range records {
		if err := s.Create(t.Context(), r); err != nil {
			t.Fatalf("Create(%s): %v", r.ID, err)
		}
	}
}

func get(t *testing.T, s store.Store, id string) store.Record {
	t.Helper()
	r, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get(%s): %v", id, err)
	}
	return r
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
	if store.Unavailable(got) {
		t.Errorf("%s: %v is reported as a failure of the store", what, got)
	}
}

// differs says how two records differ.
func differs(got, want store.Record) string {
	switch {
	case got.ID != want.ID:
		return fmt.Sprintf("id %q, want %q", got.ID, want.ID)
	case got.Owner != want.Owner:
		return fmt.Sprintf("owner %q, want %q", got.Owner, want.Owner)
	case got.Version != want.Version:
		return fmt.Sprintf("version %d, want %d", got.Version, want.Version)
	case !got.Expires.Equal(want.Expires.Truncate(time.Millisecond)):
		return fmt.Sprintf("expires %v, want %v", got.Expires, want.Expires)
	case !slices.Equal(got.Sealed, want.Sealed):
		return fmt.Sprintf("content of %d bytes, want another of %d", len(got.Sealed), len(want.Sealed))
	}
	return ""
}

func wantRecord(t *testing.T, got, want store.Record) {
	t.Helper()
	if difference := differs(got, want); difference != "" {
		t.Errorf("record %s: %s", want.ID, difference)
	}
}

func ids(records []store.Record) []string {
	var found []string
	for _, r := range records {
		found = append(found, r.ID)
	}
	return found
}

func wantIDs(t *testing.T, what string, got []store.Record, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !slices.Equal(ids(got), want) {
		t.Errorf("%s has %q, want %q", what, ids(got), want)
	}
}

// everyByte is a content that a format with separators or text would change.
func everyByte() []byte {
	content := make([]byte, 0, 512)
	for i := range 256 {
		content = append(content, byte(i), byte(255-i))
	}
	return content
}

const allCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:"

// longID has the greatest length, and every character that an id may have.
func longID() string { return allCharacters + strings.Repeat("z", 128-len(allCharacters)) }
