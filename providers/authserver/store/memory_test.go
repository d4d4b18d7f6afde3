package store_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/providers/authserver/store"
	"gatehouse/providers/authserver/store/storetest"
)

// clock is a time that only a test moves.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ms.Store(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func TestMemory_Conforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) storetest.Subject {
		c := newClock()
		memory := store.NewMemory(10_000, c.now)
		return storetest.Subject{Stores: []store.Store{memory}, Now: c.now, Advance: c.advance}
	})
}

func TestMemory_LimitRemovesWhatExpiresFirst(t *testing.T) {
	t.Parallel()
	c := newClock()
	memory := store.NewMemory(3, c.now)
	for i, minutes := range []int{30, 10, 40, 20, 50} {
		r := store.Record{ID: fmt.Sprint(i), Owner: "owner", Expires: c.now().Add(time.Duration(minutes) * time.Minute)}
		if err := memory.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	// The fourth removed the one of 10 minutes, the fifth the one of 20.
	for _, list := range []func() ([]store.Record, error){
		func() ([]store.Record, error) { return memory.All(t.Context(), "", 9) },
		func() ([]store.Record, error) { return memory.ByOwner(t.Context(), "owner", "", 9) },
	} {
		got, err := list()
		if err != nil {
			t.Fatal(err)
		}
		var ids string
		for _, r := range got {
			ids += r.ID
		}
		if ids != "024" {
			t.Errorf("records %s are left, want 0, 2 and 4", ids)
		}
	}
	// Replace makes 4 the first to end, so it makes room for 5, and not 0.
	r := store.Record{ID: "4", Version: 1, Expires: c.now().Add(25 * time.Minute)}
	if _, err := memory.Replace(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := memory.Create(t.Context(), store.Record{ID: "5", Expires: c.now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]error{"0": nil, "2": nil, "4": store.ErrNotFound, "5": nil} {
		if _, err := memory.Get(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("record %s: error %v, want %v", id, err, want)
		}
	}
}

func TestMemory_ExpiredRecordsMakeRoom(t *testing.T) {
	t.Parallel()
	c := newClock()
	memory := store.NewMemory(3, c.now)
	for i, lifetime := range []time.Duration{30, 10, 40, 20} { // the last removes the second
		r := store.Record{ID: fmt.Sprint(i), Expires: c.now().Add(lifetime * time.Minute)}
		if err := memory.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(35 * time.Minute)
	for _, id := range []string{"4", "5"} {
		if err := memory.Create(t.Context(), store.Record{ID: id, Expires: c.now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"2", "4", "5"} {
		if _, err := memory.Get(t.Context(), id); err != nil {
			t.Errorf("record %s: %v", id, err)
		}
	}
}

func TestMemory_CreateRemovesExpiredRecords(t *testing.T) {
	t.Parallel()
	c := newClock()
	memory := store.NewMemory(1000, c.now)
	create := func(id string) {
		if err := memory.Create(t.Context(), store.Record{ID: id, Expires: c.now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		create(fmt.Sprint(i))
	}
	c.advance(time.Minute)
	for i := range 10 {
		create(fmt.Sprint("new:", i))
	}
	if kept := memory.Len(); kept != 10 {
		t.Errorf("%d records are kept, want 10", kept)
	}
}
