package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver/store/storetest"
	brokers "gatehouse/providers/broker"
)

// wantReady expects that the server is ready, or says why not, within a few seconds.
func wantReady(t testing.TB, origin string, reason string) {
	t.Helper()
	var last response
	for begin := time.Now(); time.Since(begin) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
		last = send(t, http.MethodGet, origin+"/readyz", "", "", nil)
		if reason == "" && last.status == http.StatusOK ||
			last.status == http.StatusServiceUnavailable && strings.Contains(last.body, `"reason":"`+reason+`"`) {
			return
		}
	}
	t.Errorf("/readyz: %d %s, want reason %q", last.status, last.body, reason)
}

// wantOutage expects that a sign-in fails with temporarily_unavailable for the client, and a page for the person.
func wantOutage(t testing.TB, client brokerClient) {
	t.Helper()
	alice := &user{name: "alice", decision: "approve"}
	q, err := client.authorize(t, alice, "mcp:use")
	if err != nil || q.Get("error") != "temporarily_unavailable" || q.Get("code") != "" {
		t.Errorf("the client gets %v, %v", q, err)
	}
	if len(alice.failures) != 1 || !strings.HasPrefix(alice.failures[0], "503 ") {
		t.Errorf("the person sees %q", alice.failures)
	}
}

// Calls need no store. What needs it says so, and works again when the store does, without a restart.
func TestBroker_StoreIsDown(t *testing.T) {
	t.Parallel()
	redis := storetest.StartRedis(t)
	redis.Kill()
	srv, company := startBroker(t, map[string]string{"provider.store": redis.URL(t)})
	client := srv.register(t) // needs no store
	t.Run("row 54 at start", func(t *testing.T) {
		wantReady(t, srv.origin(), "store_unavailable")
	})
	t.Run("row 54 callback without keys", func(t *testing.T) { wantOutage(t, client) })

	redis.Start(t)
	wantReady(t, srv.origin(), "")
	tokens := client.signIn(t, "alice", allScopes()...)
	alice := &user{name: "alice", decision: "approve"}
	unused, err := client.authorize(t, alice, allScopes()...)
	if err != nil {
		t.Fatal(err)
	}

	redis.Kill()
	t.Run("row 54 call", func(t *testing.T) {
		if r := whoami(t, srv.url, tokens.Access); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
		wantReady(t, srv.origin(), "")
	})
	t.Run("row 54 authorize", func(t *testing.T) {
		r := send(t, http.MethodGet, client.authorizeURL("mcp:use"), "", "", nil)
		if r.status != http.StatusFound {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if page := send(t, http.MethodGet, r.header.Get("Location"), "", "", nil); page.status != http.StatusOK {
			t.Errorf("the consent page: %d %s", page.status, page.body)
		}
	})
	t.Run("row 54 callback", func(t *testing.T) { wantOutage(t, client) })
	t.Run("row 54 exchange and refresh", func(t *testing.T) {
		r, _ := client.exchange(t, unused.Get("code"))
		wantRefused(t, "exchange", r, http.StatusServiceUnavailable, "temporarily_unavailable")
		r, _ = client.refresh(t, tokens.Refresh)
		wantRefused(t, "refresh", r, http.StatusServiceUnavailable, "temporarily_unavailable")
	})

	redis.Start(t)
	t.Run("row 54 back again", func(t *testing.T) {
		for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			r, _ := client.refresh(t, tokens.Refresh)
			if r.status == http.StatusOK {
				break
			}
			wantRefused(t, "refresh", r, http.StatusServiceUnavailable, "temporarily_unavailable")
			if time.Since(begin) > 5*time.Second {
				t.Fatal("the store is not used again")
			}
		}
		if r, _ := client.exchange(t, unused.Get("code")); r.status != http.StatusOK {
			t.Errorf("the code of before: %d %s", r.status, r.body)
		}
	})
	company.wantNoSecrets(t, "the log", srv.log.String(), tokens.Access, tokens.Refresh, unused.Get("code"))
}

// The company is needed for sign-ins. Refreshes continue without it for a while, and calls for as long as tokens last.
func TestBroker_CompanyIsDown(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	company.setDown(true)
	srv := startServer(t, company.settings(t, nil), company.use(t), withBroker(recheckAtOnce))
	client := srv.register(t)
	t.Run("row 55 at start", func(t *testing.T) { wantReady(t, srv.origin(), "") })
	t.Run("row 55 authorize", func(t *testing.T) {
		wantOutage(t, client)
		status := srv.Status().SignIns
		if n := status.Events["signin.complete"]["provider_unavailable"]; n != 1 ||
			status.ProviderProblem != "provider_unavailable" {
			t.Errorf("operators see %+v", status)
		}
		if !strings.Contains(srv.log.String(), "status=503 outcome=unavailable request_id=") ||
			strings.Count(srv.log.String(), "reason=provider_unavailable\n") != 1 {
			t.Error("the access log lacks the reason")
		}
	})
	company.setDown(false)
	time.Sleep(1100 * time.Millisecond) // until the metadata may be read again
	t.Run("row 55 callback", func(t *testing.T) {
		company.set(func() { company.afterConsent = func() { company.setDown(true) } })
		wantOutage(t, client)
		company.set(func() { company.afterConsent, company.down = nil, false })
	})
	tokens := client.signIn(t, "alice", allScopes()...)

	company.setDown(true)
	t.Run("row 55 call", func(t *testing.T) {
		if r := whoami(t, srv.url, tokens.Access); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("row 55 refresh while the last confirmation is young", func(t *testing.T) {
		r, pair := client.refresh(t, tokens.Refresh)
		if r.status != http.StatusOK || pair.Refresh == tokens.Refresh {
			t.Fatalf("%d %s", r.status, r.body)
		}
		tokens = pair
	})
	if problem := srv.Status().SignIns.ProviderProblem; problem != "provider_unavailable" {
		t.Errorf("the status page has the problem %q", problem)
	}
	company.wantNoSecrets(t, "the log", srv.log.String(), tokens.Access, tokens.Refresh)
}

// Beyond recheck_max_stale a refresh has to wait for the company, and loses nothing.
func TestBroker_CompanyIsDownForLong(t *testing.T) {
	t.Parallel()
	srv, company := startBroker(t, nil, withBroker(func(s *brokers.Settings) {
		recheckAtOnce(s)
		s.RecheckMaxStale = time.Nanosecond
	}))
	client := srv.register(t)
	tokens := client.signIn(t, "alice", allScopes()...)
	company.setDown(true)
	for range 3 {
		r, _ := client.refresh(t, tokens.Refresh)
		wantRefused(t, "row 55 refresh", r, http.StatusServiceUnavailable, "temporarily_unavailable")
	}
	if r := whoami(t, srv.url, tokens.Access); r.status != http.StatusOK {
		t.Errorf("a call: %d %s", r.status, r.body)
	}
}
