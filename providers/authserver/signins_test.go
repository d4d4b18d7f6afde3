package authserver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
)

func TestSignIns_List(t *testing.T) {
	r := openReplicas(t, 1)
	began := r.clock.Now()
	token := r.tokens(r.person("notes:read"))["refresh_token"]
	r.clock.forward(time.Minute)
	wantTokens(t, r.first().refresh(token))
	list, next, err := r.first().SignIns(t.Context(), authserver.SignInFilter{}, "", 10)
	if err != nil || len(list) != 1 || next != "" {
		t.Fatalf("%+v, %q, %v", list, next, err)
	}
	one := list[0]
	if one.ID != authserver.SignInDigest("state 1") || one.Subject != "alice" || one.ClientID != "public" ||
		one.ClientName != "public" || one.Resource != brokerResource || one.Unreadable ||
		strings.Join(one.Scopes, " ") != "notes:read offline_access" {
		t.Errorf("the sign-in is %+v", one)
	}
	if !one.SignedIn.Equal(began) || !one.Refreshed.Equal(began.Add(time.Minute)) || !one.Confirmed.Equal(began) ||
		!one.Expires.Equal(began.Add(30*24*time.Hour)) {
		t.Errorf("its times are %+v", one)
	}
	if text := fmt.Sprintf("%+v", one); strings.Contains(text, "credential") {
		t.Errorf("it has a credential: %s", text)
	}

	for n := range 7 {
		who := r.person()
		who.Subject = []string{"alice", "bob"}[n%2]
		r.codeFor([]string{"public", "other"}[n%2], who)
	}
	unused := r.code(r.person())
	r.first().revoke(r.tokens(r.person())["refresh_token"], "public") // an ended one is not listed
	count := func(f authserver.SignInFilter, limit int) (ids []string, pages int) {
		t.Helper()
		for after := ""; ; pages++ {
			list, next, err := r.first().SignIns(t.Context(), f, after, limit)
			if err != nil || len(list) > limit {
				t.Fatalf("%+v, %v", list, err)
			}
			for _, one := range list {
				ids = append(ids, one.ID)
			}
			if after = next; next == "" {
				return ids, pages + 1
			}
		}
	}
	for _, c := range []struct {
		filter          authserver.SignInFilter
		limit, n, pages int
	}{
		{authserver.SignInFilter{}, 100, 9, 1},
		{authserver.SignInFilter{}, 3, 9, 3},
		{authserver.SignInFilter{}, 1, 9, 9},
		{authserver.SignInFilter{Subject: "bob"}, 2, 3, 2},
		{authserver.SignInFilter{ClientID: "other"}, 100, 3, 1},
		{authserver.SignInFilter{Subject: "alice", ClientID: "other"}, 100, 0, 1},
		{authserver.SignInFilter{ID: one.ID}, 100, 1, 1},
		{authserver.SignInFilter{ID: one.ID, Subject: "bob"}, 100, 0, 1},
	} {
		ids, pages := count(c.filter, c.limit)
		if len(ids) != c.n || pages != c.pages || !slices.IsSorted(ids) || len(slices.Compact(ids)) != c.n {
			t.Errorf("%+v by %d: %d pages with %d, want %d with %d: %q", c.filter, c.limit, pages, len(ids), c.pages, c.n,
				ids)
		}
	}
	r.clock.forward(time.Minute)
	if ids, _ := count(authserver.SignInFilter{}, 100); len(ids) != 1 {
		t.Errorf("%d are listed although their codes have expired", len(ids)-1)
	}
	wantInvalidGrant(t, r.first().exchangeCode(unused))
}

func TestSignIns_End(t *testing.T) {
	r := openReplicas(t, 1)
	tokens := map[string]any{}
	for _, subject := range []string{"alice", "bob", "carol", "dave"} {
		who := r.person()
		who.Subject = subject
		tokens[subject] = r.tokens(who)["refresh_token"]
	}
	if n, err := r.first().EndSignIns(t.Context(), authserver.SignInFilter{}); n != 0 || err == nil {
		t.Errorf("an empty filter has ended %d, %v", n, err)
	}
	if n, err := r.first().EndSignIns(t.Context(), authserver.SignInFilter{Subject: "erin"}); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := r.first().EndSignIns(t.Context(), authserver.SignInFilter{Subject: "alice"}); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	r.events.want(t, 1, "signin.end", authserver.ReasonEndedByOperator)
	r.provider.wantDismissed(t, "credential 1")
	wantInvalidGrant(t, r.first().refresh(tokens["alice"]))
	t.Run("without an issuer", func(t *testing.T) {
		list, _, err := authserver.ListSignIns(t.Context(), r.store, r.keys, authserver.SignInFilter{Subject: "bob"}, "", 9)
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		n, err := authserver.EndSignIns(t.Context(), r.store, r.keys, authserver.SignInFilter{ID: list[0].ID})
		if n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		wantInvalidGrant(t, r.first().refresh(tokens["bob"]))
		wantTokens(t, r.first().refresh(tokens["carol"]))
	})
	t.Run("also those that were created with a secret that is gone", func(t *testing.T) {
		old, young := []byte(strings.Repeat("o", 32)), []byte(strings.Repeat("y", 32))
		memory := store.NewMemory(100, time.Now)
		open := func(secrets ...[]byte) *replicas {
			return openReplicas(t, 1, func(c *authserver.Config) { c.Keys, c.Store = seal.FromSecrets(secrets), memory })
		}
		before := open(old)
		token := before.tokens(before.person())["refresh_token"]
		token = wantTokens(t, open(young, old).first().refresh(token))["refresh_token"]
		token = wantTokens(t, open(young, old).first().refresh(token))["refresh_token"]
		now := open(young)
		token = wantTokens(t, now.first().refresh(token))["refresh_token"]
		if n, err := now.first().EndSignIns(t.Context(), authserver.SignInFilter{Subject: "alice"}); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		wantInvalidGrant(t, now.first().refresh(token))
	})
	t.Run("what does not open is listed, and deleted if it is named", func(t *testing.T) {
		strange := seal.Random()
		list, _, err := authserver.ListSignIns(t.Context(), r.store, strange, authserver.SignInFilter{}, "", 9)
		if err != nil || len(list) != 4 || !list[0].Unreadable || list[0].Subject != "" {
			t.Fatalf("%+v, %v", list, err)
		}
		if n, err := authserver.EndSignIns(t.Context(), r.store, strange, authserver.SignInFilter{Subject: "dave"}); n != 0 ||
			err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := authserver.EndSignIns(t.Context(), r.store, strange,
			authserver.SignInFilter{ID: list[0].ID}); n != 1 || err != nil || len(r.store.records(t)) != 3 {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("row 54 the store is down", func(t *testing.T) {
		r.store.set(only("All"), nil)
		defer r.store.heal()
		if n, err := r.first().EndSignIns(t.Context(), authserver.SignInFilter{Subject: "carol"}); n != 0 || err == nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}
