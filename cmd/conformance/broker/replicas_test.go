package broker

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// recheckAge is when the provider is asked again: recheck_interval, whose least value is a minute, and a second more.
const recheckAge = 61 * time.Second

// TestReplicas signs people in, waits until the last confirmation by the provider is too old, and then uses their
// refresh tokens at two replicas.
func TestReplicas(t *testing.T) {
	needPrograms(t, *scripts, *redis)
	t.Parallel()
	w := newWorld(t, inRedis)
	one, other := w.startReplica(t), w.startReplica(t)
	rounds := 5
	if long {
		rounds = 100
	}
	var racing []*grant
	for i := range rounds {
		racing = append(racing, w.signIn(t, fmt.Sprintf("runner-%d", i)))
	}
	leaver, stayer := w.signIn(t, "leaver"), w.signIn(t, "stayer")
	patient := w.signIn(t, "patient")
	dropped, delivered, neighbor, late := w.signIn(t, "dropped"), w.signIn(t, "delivered"), w.signIn(t, "neighbor"),
		w.signIn(t, "late")
	pause(t.Context(), recheckAge)

	t.Run("40 refreshes at once", func(t *testing.T) {
		loggedOut := 0
		for _, g := range racing {
			if !w.race(t, g, one, other) {
				loggedOut++
			}
		}
		t.Logf("note: %d rounds of %d refreshes at once, %d people logged out", rounds, racers, loggedOut)
	})
	t.Run("a disabled account", func(t *testing.T) { w.disable(t, leaver, stayer, one, other) })
	t.Run("an outage of the provider", func(t *testing.T) { w.upstreamOutage(t, patient, one, other) })
	t.Run("an outage of the store", func(t *testing.T) { w.storeOutage(t, patient, one, other) })
	t.Run("kill -9 between the provider's answer and the save", func(t *testing.T) {
		w.crash(t, one, other, dropped, delivered, neighbor, late)
	})
	w.scanEverything(t)
}

// racers is the number of refreshes at once.
const racers = 40

// race uses one refresh token many times at once, half of them at each replica. All get the same successor, or are told
// to come back for it, and the provider is asked once. It reports whether the person can still call.
func (w *world) race(t *testing.T, g *grant, replicas ...*replica) (signedIn bool) {
	t.Helper()
	asked := w.upstream.asked()
	answers := make([]answer, racers)
	errs := make([]error, racers)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range racers {
		running.Go(func() {
			mine := *g
			<-start
			answers[i], errs[i] = mine.refresh(replicas[i%len(replicas)].address)
		})
	}
	close(start)
	running.Wait()
	successors := map[string]int{}
	for i, a := range answers {
		switch {
		case errs[i] != nil:
			t.Errorf("%s: %v", g.account, errs[i])
		case a.status == http.StatusOK:
			successors[a.Refresh]++
		case a.status != http.StatusServiceUnavailable || a.retryAfter == "":
			t.Errorf("%s: %v, Retry-After %q", g.account, a, a.retryAfter)
		}
	}
	if len(successors) != 1 {
		t.Errorf("%s: the counts of the successors are %v", g.account, successors)
	}
	if n := w.upstream.asked() - asked; n != 1 {
		t.Errorf("%s: the provider was asked %d times", g.account, n)
	}
	g.mustRefresh(t, replicas[0].address) // the same successor, as one that has come back for it
	if successors[g.tokens.Refresh] == 0 {
		t.Errorf("%s: a repeat got another successor", g.account)
	}
	g.mustRefresh(t, replicas[1].address)
	if n := w.upstream.asked() - asked; n != 1 {
		t.Errorf("%s: the provider was asked %d times in the end", g.account, n)
	}
	last, err := g.refresh(replicas[0].address)
	if err != nil || last.status != http.StatusOK || g.call(t, replicas[0].address) != http.StatusOK {
		t.Errorf("%s is logged out: %v, %v", g.account, last, err)
		return false
	}
	return true
}

// disable disables an account at the provider. The person has no new token, and others are not affected.
func (w *world) disable(t *testing.T, leaver, stayer *grant, one, other *replica) {
	w.upstream.disable(t, leaver.account)
	for _, r := range []*replica{one, other} {
		if a, err := leaver.refresh(r.address); err != nil || a.status != http.StatusBadRequest ||
			a.Error != "invalid_grant" {
			t.Errorf("a refresh of the disabled account: %v, %v", a, err)
		}
	}
	stayer.mustRefresh(t, other.address)
	if _, err := w.person(leaver.account).signIn(t.Context(), w.authorizeURL(leaver.client)); err != nil {
		t.Error(err)
	}
}
