package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"gatehouse/providers/authserver/store"
)

func testPages(t *testing.T, s Subject) {
	var want, wantOwned []string
	for i := range 250 { // more than a store reads at once
		owner := []string{"", "owner", "other"}[i%3]
		r := s.record(fmt.Sprintf("grant:%03d", i), owner, fmt.Sprint(i))
		want = append(want, r.ID)
		if owner == "owner" {
			wantOwned = append(wantOwned, r.ID)
		}
	}
	for _, i := range rand.Perm(len(want)) {
		create(t, s.first(), s.record(want[i], []string{"", "owner", "other"}[i%3], fmt.Sprint(i)))
	}
	lists := map[string]struct {
		want []string
		list func(after string, limit int) ([]store.Record, error)
	}{
		"all": {want, func(after string, limit int) ([]store.Record, error) {
			return s.last().All(t.Context(), after, limit)
		}},
		"the owner": {wantOwned, func(after string, limit int) ([]store.Record, error) {
			return s.last().ByOwner(t.Context(), "owner", after, limit)
		}},
	}
	for name, list := range lists {
		for _, limit := range []int{1, 7, 100, len(list.want), 1000} {
			if limit == 1 && s.Advance == nil && name == "all" {
				continue // reads everything for each record
			}
			var got []string
			after := ""
			for range len(list.want) + 1 { // a list that does not end is too long
				page, err := list.list(after, limit)
				if err != nil {
					t.Fatalf("the list of %s: %v", name, err)
				}
				if len(page) > limit {
					t.Fatalf("the list of %s has a page of %d records, the limit is %d", name, len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				got = append(got, ids(page)...)
				after = got[len(got)-1]
			}
			if !slices.Equal(got, list.want) {
				t.Errorf("the list of %s in pages of %d: %q", name, limit, got)
			}
		}
		for _, limit := range []int{0, -1} {
			page, err := list.list("", limit)
			wantIDs(t, "a page without a limit of "+name, page, err)
		}
		page, err := list.list("grant:0405", 1) // an id that does not exist
		wantIDs(t, "the list of "+name+" after it", page, err, map[string]string{
			"all": "grant:041", "the owner": "grant:043"}[name])
		page, err = list.list("z", 9)
		wantIDs(t, "the list of "+name+" after the last", page, err)
	}
	one := get(t, s.last(), "grant:100")
	page, err := s.last().All(t.Context(), "grant:099", 1)
	if err != nil || len(page) != 1 {
		t.Fatal(page, err)
	}
	wantRecord(t, page[0], one)
}

func testOwners(t *testing.T, s Subject) {
	owners := []string{"a", "aa", "a:", "a:b", "A", "b", longID()}
	for i, owner := range owners {
		create(t, s.first(), s.record(fmt.Sprintf("a:%d", i), owner, ""), s.record(fmt.Sprintf("%d", i), owner, ""))
	}
	create(t, s.first(), s.record("none", "", ""))
	for i, owner := range owners {
		got, err := s.last().ByOwner(t.Context(), owner, "", 9)
		wantIDs(t, "the list of "+owner, got, err, fmt.Sprintf("%d", i), fmt.Sprintf("a:%d", i))
		for _, r := range got {
			if r.Owner != owner {
				t.Errorf("the list of %s has a record of %s", owner, r.Owner)
			}
		}
	}
	for _, owner := range []string{"", "c"} {
		got, err := s.last().ByOwner(t.Context(), owner, "", 9)
		wantIDs(t, "the list of "+owner, got, err)
	}
}
