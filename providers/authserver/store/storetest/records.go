package storetest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver/store"
)

func testRoundTrip(t *testing.T, s Subject) {
	for _, r := range []store.Record{
		s.record("grant:1", "person:1", "content"),
		s.record("grant:2", "", "without an owner"),
		s.record("g", "o", ""),
		{ID: longID(), Owner: longID(), Expires: s.Now().Add(time.Hour), Sealed: everyByte()},
		{ID: "large", Expires: s.Now().Add(time.Hour), Sealed: bytes.Repeat([]byte{0xff}, 64<<10)},
		{ID: "with-a-version", Version: 7, Expires: s.Now().Add(time.Hour), Sealed: []byte("x")},
		{ID: "zone", Expires: s.Now().Add(time.Hour).In(time.FixedZone("", -5*3600)), Sealed: []byte("x")},
		{ID: "last", Expires: time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC), Sealed: []byte("x")},
	} {
		create(t, s.first(), r)
		r.Version = 1
		wantRecord(t, get(t, s.last(), r.ID), r)
	}
	_, err := s.last().Get(t.Context(), "grant:3")
	wantError(t, "Get of a record that was not created", err, store.ErrNotFound)
}

func testExists(t *testing.T, s Subject) {
	first := s.record("a", "owner", "first")
	create(t, s.first(), first)
	wantError(t, "a second Create", s.last().Create(t.Context(), s.record("a", "other", "second")), store.ErrExists)

	first.Version = 1
	wantRecord(t, get(t, s.last(), "a"), first)
	other, err := s.last().ByOwner(t.Context(), "other", "", 9)
	wantIDs(t, "the list of the owner that was refused", other, err)
}

func testReplace(t *testing.T, s Subject) {
	stored := s.record("a", "owner", "1")
	create(t, s.first(), stored)
	stored.Version = 1

	next := stored
	next.Owner, next.Sealed, next.Expires = "other", []byte("content of version 2"), s.Now().Add(2*time.Hour)
	for _, version := range []uint64{0, 2, 1 << 62} {
		next.Version = version
		_, err := s.last().Replace(t.Context(), next)
		wantError(t, "Replace of another version", err, store.ErrChanged)
	}
	wantRecord(t, get(t, s.first(), "a"), stored)

	next.Version = 1
	version, err := s.last().Replace(t.Context(), next)
	if err != nil || version != 2 {
		t.Fatalf("Replace returned version %d, %v, want 2", version, err)
	}
	next.Owner, next.Version = "owner", 2
	wantRecord(t, get(t, s.first(), "a"), next)
	owned, err := s.first().ByOwner(t.Context(), "owner", "", 9)
	wantIDs(t, "the list of the owner", owned, err, "a")
	other, err := s.first().ByOwner(t.Context(), "other", "", 9)
	wantIDs(t, "the list of the owner of Replace", other, err)

	next.Version = 1
	_, err = s.first().Replace(t.Context(), next)
	wantError(t, "Replace of the version before", err, store.ErrChanged)
	_, err = s.first().Replace(t.Context(), s.record("b", "", ""))
	wantError(t, "Replace of no record", err, store.ErrNotFound)
	_, err = s.first().Get(t.Context(), "b")
	wantError(t, "Get after Replace of no record", err, store.ErrNotFound)
}

func testDelete(t *testing.T, s Subject) {
	create(t, s.first(), s.record("a", "owner", "1"), s.record("b", "owner", "2"))
	for range 2 { // the second finds nothing
		if err := s.last().Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.first().Get(t.Context(), "a")
	wantError(t, "Get", err, store.ErrNotFound)
	_, err = s.first().Replace(t.Context(), store.Record{ID: "a", Version: 1, Expires: s.Now().Add(time.Hour)})
	wantError(t, "Replace", err, store.ErrNotFound)
	owned, err := s.first().ByOwner(t.Context(), "owner", "", 9)
	wantIDs(t, "the list of the owner", owned, err, "b")
	all, err := s.first().All(t.Context(), "", 9)
	wantIDs(t, "the list of all", all, err, "b")

	again := s.record("a", "other", "3")
	create(t, s.first(), again)
	again.Version = 1
	wantRecord(t, get(t, s.last(), "a"), again)
	owned, err = s.first().ByOwner(t.Context(), "owner", "", 9)
	wantIDs(t, "the list of the owner before", owned, err, "b")
}

func testExpiry(t *testing.T, s Subject) {
	lasting := s.record("c", "owner", "3")
	create(t, s.first(), lasting)
	for _, id := range []string{"a", "b"} {
		r := s.record(id, "owner", "ends")
		r.Expires = s.Now().Add(s.short())
		create(t, s.first(), r)
	}
	owned, err := s.last().ByOwner(t.Context(), "owner", "", 9)
	wantIDs(t, "the list before", owned, err, "a", "b", "c")
	s.expire()

	owned, err = s.last().ByOwner(t.Context(), "owner", "", 1)
	wantIDs(t, "a page of the owner", owned, err, "c")
	all, err := s.last().All(t.Context(), "", 1)
	wantIDs(t, "a page of all", all, err, "c")
	_, err = s.last().Replace(t.Context(), store.Record{ID: "a", Version: 1, Expires: s.Now().Add(time.Hour)})
	wantError(t, "Replace", err, store.ErrNotFound)
	_, err = s.last().Get(t.Context(), "a")
	wantError(t, "Get", err, store.ErrNotFound)
	if err := s.last().Delete(t.Context(), "a"); err != nil {
		t.Errorf("Delete: %v", err)
	}

	again := s.record("b", "other", "again")
	create(t, s.last(), again)
	again.Version = 1
	wantRecord(t, get(t, s.first(), "b"), again)
	owned, err = s.first().ByOwner(t.Context(), "owner", "", 9)
	wantIDs(t, "the list of the owner before", owned, err, "c")
	owned, err = s.first().ByOwner(t.Context(), "other", "", 9)
	wantIDs(t, "the list of the owner now", owned, err, "b")

	past := s.record("past", "owner", "x")
	past.Expires = s.Now().Add(-time.Hour)
	create(t, s.first(), past)
	_, err = s.first().Get(t.Context(), "past")
	wantError(t, "Get of a record that was created too late", err, store.ErrNotFound)
	create(t, s.first(), s.record("past", "owner", "x"))
}

func testExpiryMoves(t *testing.T, s Subject) {
	soon := s.Now().Add(s.short())
	early, late := s.record("early", "owner", "1"), s.record("late", "owner", "2")
	late.Expires = soon
	create(t, s.first(), early, late)
	early.Version, early.Expires = 1, soon
	late.Version, late.Expires = 1, s.Now().Add(time.Hour)
	for _, r := range []store.Record{early, late} {
		if _, err := s.first().Replace(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	s.expire()
	_, err := s.last().Get(t.Context(), "early")
	wantError(t, "Get of the record that was made to end", err, store.ErrNotFound)
	late.Version = 2
	wantRecord(t, get(t, s.last(), "late"), late)
	owned, err := s.last().ByOwner(t.Context(), "owner", "", 9)
	wantIDs(t, "the list of the owner", owned, err, "late")

	late.Expires = s.Now().Add(-time.Second)
	if _, err := s.last().Replace(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	_, err = s.last().Get(t.Context(), "late")
	wantError(t, "Get after Replace with a time in the past", err, store.ErrNotFound)
}

func testContentIsCopied(t *testing.T, s Subject) {
	r := s.record("a", "owner", "created")
	create(t, s.first(), r)
	clear(r.Sealed)
	got := get(t, s.first(), "a")
	if string(got.Sealed) != "created" {
		t.Errorf("the content is %q after a change to the argument of Create", got.Sealed)
	}
	clear(got.Sealed)
	if got = get(t, s.first(), "a"); string(got.Sealed) != "created" {
		t.Errorf("the content is %q after a change to the result of Get", got.Sealed)
	}
	r = s.record("a", "", "replaced")
	r.Version = 1
	if _, err := s.first().Replace(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	clear(r.Sealed)
	page, err := s.first().ByOwner(t.Context(), "owner", "", 1)
	wantIDs(t, "the list", page, err, "a")
	clear(page[0].Sealed)
	if got := get(t, s.first(), "a"); string(got.Sealed) != "replaced" {
		t.Errorf("the content is %q after changes to the argument of Replace and to a list", got.Sealed)
	}
}

func testLimits(t *testing.T, s Subject) {
	tests := map[string]func(*store.Record){
		"no id":                func(r *store.Record) { r.ID = "" },
		"long id":              func(r *store.Record) { r.ID = strings.Repeat("a", 129) },
		"space":                func(r *store.Record) { r.ID = "a b" },
		"line break":           func(r *store.Record) { r.ID = "a\n" },
		"zero byte":            func(r *store.Record) { r.ID = "a\x00b" },
		"pattern":              func(r *store.Record) { r.ID = "*" },
		"path":                 func(r *store.Record) { r.ID = "../a" },
		"letter beyond ASCII":  func(r *store.Record) { r.ID = "é" },
		"long owner":           func(r *store.Record) { r.Owner = strings.Repeat("a", 129) },
		"owner with a space":   func(r *store.Record) { r.Owner = "a b" },
		"large content":        func(r *store.Record) { r.Sealed = make([]byte, 64<<10+1) },
		"no expiry":            func(r *store.Record) { r.Expires = time.Time{} },
		"expiry before 1970":   func(r *store.Record) { r.Expires = time.Unix(-1, 0) },
		"expiry after 9999":    func(r *store.Record) { r.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"owner with zero byte": func(r *store.Record) { r.Owner = "a\x00" },
	}
	for name, change := range tests {
		r := s.record("a", "owner", "content")
		change(&r)
		wantError(t, name+": Create", s.first().Create(t.Context(), r), store.ErrInvalid)
		r.Version = 1
		_, err := s.first().Replace(t.Context(), r)
		wantError(t, name+": Replace", err, store.ErrInvalid)
		if r.ID != "a" {
			_, err = s.first().Get(t.Context(), r.ID)
			wantError(t, name+": Get", err, store.ErrInvalid)
			wantError(t, name+": Delete", s.first().Delete(t.Context(), r.ID), store.ErrInvalid)
		}
		if r.ID != "a" && r.ID != "" {
			_, err = s.first().All(t.Context(), r.ID, 1)
			wantError(t, name+": All", err, store.ErrInvalid)
			_, err = s.first().ByOwner(t.Context(), "owner", r.ID, 1)
			wantError(t, name+": ByOwner after it", err, store.ErrInvalid)
		}
		if r.Owner != "owner" {
			_, err = s.first().ByOwner(t.Context(), r.Owner, "", 1)
			wantError(t, name+": ByOwner", err, store.ErrInvalid)
		}
	}
	all, err := s.first().All(t.Context(), "", 9)
	wantIDs(t, "the list of all", all, err)
}

func testPing(t *testing.T, s Subject) {
	if err := store.Ping(t.Context(), s.first()); err != nil {
		t.Error(err)
	}
}
