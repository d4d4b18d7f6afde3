package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/providers/authserver/store"
)

const (
	racers = 40
	rounds = 10
)

// race calls try at once from racers goroutines, on all stores in turn. It returns the results.
func race(s Subject, try func(racer int, s store.Store) error) []error {
	results, start := make([]error, racers), make(chan struct{})
	var done sync.WaitGroup
	for racer := range racers {
		done.Go(func() {
			<-start
			results[racer] = try(racer, s.Stores[racer%len(s.Stores)])
		})
	}
	close(start)
	done.Wait()
	return results
}

// winner returns the only racer without an error. The error of the others is lost.
func winner(t *testing.T, results []error, lost error) int {
	t.Helper()
	won := -1
	for racer, err := range results {
		switch {
		case err == nil && won >= 0:
			t.Fatalf("racers %d and %d have both won", won, racer)
		case err == nil:
			won = racer
		case !errors.Is(err, lost):
			t.Fatalf("racer %d: error %v, want %v", racer, err, lost)
		}
	}
	if won < 0 {
		t.Fatal("no racer has won")
	}
	return won
}

func testCreateRace(t *testing.T, s Subject) {
	for round := range rounds {
		id := fmt.Sprintf("round:%d", round)
		won := winner(t, race(s, func(racer int, one store.Store) error {
			return one.Create(t.Context(), s.record(id, fmt.Sprintf("owner:%d", racer), fmt.Sprint(racer)))
		}), store.ErrExists)
		if got := get(t, s.last(), id); string(got.Sealed) != fmt.Sprint(won) || got.Version != 1 {
			t.Errorf("racer %d has won, and version %d is of racer %s", won, got.Version, got.Sealed)
		}
		for racer := range racers {
			owned, err := s.last().ByOwner(t.Context(), fmt.Sprintf("owner:%d", racer), id, 9)
			wantIDs(t, "the list of an owner after this round", owned, err)
		}
	}
}

func testReplaceRace(t *testing.T, s Subject) {
	create(t, s.first(), s.record("a", "owner", "start"))
	for round := range rounds {
		won := winner(t, race(s, func(racer int, one store.Store) error {
			r := s.record("a", "owner", fmt.Sprint(racer))
			r.Version = uint64(round + 1)
			_, err := one.Replace(t.Context(), r)
			return err
		}), store.ErrChanged)
		if got := get(t, s.first(), "a"); string(got.Sealed) != fmt.Sprint(won) || got.Version != uint64(round+2) {
			t.Errorf("racer %d has won, and version %d is of racer %s", won, got.Version, got.Sealed)
		}
	}
}

// testCounter adds to one record from several goroutines. Each repeats its step until Replace accepts it.
func testCounter(t *testing.T, s Subject) {
	create(t, s.first(), s.record("counter", "", ""))
	const steps = 5
	for racer, err := range race(s, func(_ int, one store.Store) error {
		for done := 0; done < steps; {
			r, err := one.Get(t.Context(), "counter")
			if err != nil {
				return err
			}
			r.Sealed = append(r.Sealed, '1')
			switch _, err := one.Replace(t.Context(), r); {
			case err == nil:
				done++
			case !errors.Is(err, store.ErrChanged):
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatalf("racer %d: %v", racer, err)
		}
	}
	got := get(t, s.first(), "counter")
	if len(got.Sealed) != racers*steps || got.Version != racers*steps+1 {
		t.Errorf("%d steps and version %d, want %d", len(got.Sealed), got.Version, racers*steps)
	}
}

// testRandom compares each answer with that of a map, for operations on few ids.
func testRandom(t *testing.T, s Subject) {
	random := rand.New(rand.NewPCG(1, 2))
	model := make(map[string]store.Record)
	for step := range 1500 {
		one := s.Stores[random.IntN(len(s.Stores))]
		r := s.record(fmt.Sprintf("id:%d", random.IntN(12)), fmt.Sprintf("owner:%d", random.IntN(3)),
			strings.Repeat("x", random.IntN(2000)))
		r.Version = 1 + uint64(random.IntN(3))
		stored, ok := model[r.ID]
		var err, want error
		switch random.IntN(6) {
		case 0, 1:
			if ok {
				want = store.ErrExists
			} else {
				created := r
				created.Version = 1
				model[r.ID] = created
			}
			err = one.Create(t.Context(), r)
		case 2, 3:
			if random.IntN(2) == 0 {
				r.Version = stored.Version
			}
			switch {
			case !ok:
				want = store.ErrNotFound
			case r.Version != stored.Version:
				want = store.ErrChanged
			default:
				next := r
				next.Owner, next.Version = stored.Owner, stored.Version+1
				model[r.ID] = next
			}
			_, err = one.Replace(t.Context(), r)
		case 4:
			delete(model, r.ID)
			err = one.Delete(t.Context(), r.ID)
		case 5:
			if !ok {
				want = store.ErrNotFound
			}
			var got store.Record
			if got, err = one.Get(t.Context(), r.ID); err == nil {
				wantRecord(t, got, stored)
			}
		}
		if !errors.Is(err, want) {
			t.Fatalf("step %d on %s: error %v, want %v", step, r.ID, err, want)
		}
		if step%100 == 0 {
			compareLists(t, one, model)
		}
	}
	compareLists(t, s.first(), model)
}

func compareLists(t *testing.T, s store.Store, model map[string]store.Record) {
	t.Helper()
	all := make([]string, 0, len(model))
	owned := make(map[string][]string)
	for id, r := range model {
		all = append(all, id)
		owned[r.Owner] = append(owned[r.Owner], id)
	}
	slices.Sort(all)
	got, err := s.All(t.Context(), "", 100)
	wantIDs(t, "the list of all", got, err, all...)
	for _, r := range got {
		wantRecord(t, r, model[r.ID])
	}
	for i := range 3 {
		owner := fmt.Sprintf("owner:%d", i)
		slices.Sort(owned[owner])
		got, err := s.ByOwner(t.Context(), owner, "", 100)
		wantIDs(t, "the list of "+owner, got, err, owned[owner]...)
	}
}
