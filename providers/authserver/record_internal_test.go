package authserver

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gatehouse/providers/authserver/seal"
	records "gatehouse/providers/authserver/store"
)

// A thief who can write to the store moves, edits and rolls back what it cannot read.
func TestRecordsAreBoundToIDAndVersion(t *testing.T) {
	ctx, k := t.Context(), seal.Random()
	memory := records.NewMemory(10, time.Now)
	put := func(id, content string) {
		t.Helper()
		r := records.Record{ID: id, Expires: time.Now().Add(time.Hour)}
		if err := memory.Create(ctx, sealRecord(k, r, []byte(content))); err != nil {
			t.Fatal(err)
		}
	}
	get := func(id string) records.Record {
		t.Helper()
		r, err := memory.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	put("grant:a", "alice")
	put("grant:b", "bob")
	first := get("grant:a")
	if _, err := memory.Replace(ctx, sealRecord(k, first, []byte("alice, later"))); err != nil {
		t.Fatal(err)
	}
	second := get("grant:a")
	for r, want := range map[*records.Record]string{&first: "alice", &second: "alice, later"} {
		if got, err := openRecord(k, *r); err != nil || string(got) != want {
			t.Errorf("version %d: %q, %v; want %q", r.Version, got, err, want)
		}
	}

	edited := second
	edited.Sealed = slices.Clone(second.Sealed)
	edited.Sealed[len(edited.Sealed)/2] ^= 1
	swapped := get("grant:b")
	swapped.Sealed = second.Sealed
	rolledBack := second
	rolledBack.Sealed = first.Sealed
	otherKind := second
	otherKind.ID = "keys:a"
	for name, r := range map[string]records.Record{
		"row 47 edited content":                    edited,
		"row 47 content of another record":         swapped,
		"row 47 content of the version before":     rolledBack,
		"row 47 content of another kind of record": otherKind,
		"row 47 no content":                        {ID: "grant:a", Version: 2},
	} {
		t.Run(name, func(t *testing.T) {
			if plain, err := openRecord(k, r); !errors.Is(err, seal.ErrOpen) || plain != nil {
				t.Errorf("%q, %v; want ErrOpen", plain, err)
			}
		})
	}
}
