package broker

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

// upstreamOutage takes the provider away and brings it back, with a sign-in whose last confirmation is too old.
func (w *world) upstreamOutage(t *testing.T, g *grant, one, other *replica) {
	w.upstream.setDown(true)
	for _, r := range []*replica{one, other} {
		wantUnavailable(t, g, r)
	}
	w.upstream.setDown(false)
	w.recovers(t, g, one)
}

// storeOutage kills Redis and starts it again. A replica that starts meanwhile is not ready until then.
func (w *world) storeOutage(t *testing.T, g *grant, one, other *replica) {
	w.store.kill()
	for _, r := range []*replica{one, other} {
		wantUnavailable(t, g, r)
	}
	third := w.launch(t)
	third.waitFor(t, "the third replica is healthy", func() bool { return isReady("http://" + third.address + "/health") })
	if isReady("http://" + third.address + "/readyz") {
		t.Error("a replica that has started without its store is ready")
	}
	w.store.start()
	third.waitFor(t, "the third replica is ready", func() bool { return isReady("http://" + third.address + "/readyz") })
	w.recovers(t, g, third)
	w.recovers(t, g, one)
	w.recovers(t, g, other)
}

// wantUnavailable refreshes, which has to be put off, and calls a tool, which has to work.
func wantUnavailable(t *testing.T, g *grant, r *replica) {
	t.Helper()
	began := time.Now()
	a, err := g.refresh(r.address)
	if seconds, _ := strconv.Atoi(a.retryAfter); err != nil || a.status != http.StatusServiceUnavailable ||
		a.Error != "temporarily_unavailable" || seconds < 1 || seconds > 60 {
		t.Errorf("a refresh in the outage: %v, Retry-After %q, %v", a, a.retryAfter, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a refresh in the outage takes %s, longer than clients wait", took)
	}
	if status := g.call(t, r.address); status != http.StatusOK {
		t.Errorf("a call in the outage answers %d", status)
	}
}

// recovers refreshes until it succeeds, as a client does that reads Retry-After.
func (w *world) recovers(t *testing.T, g *grant, r *replica) {
	t.Helper()
	for began := time.Now(); ; {
		a, err := g.refresh(r.address)
		if err == nil && a.status == http.StatusOK {
			return
		}
		seconds, _ := strconv.Atoi(a.retryAfter)
		if err != nil || a.status != http.StatusServiceUnavailable || seconds < 1 || time.Since(began) > 30*time.Second {
			t.Fatalf("after the outage a refresh at %s answers %v, Retry-After %q, %v", r.address, a, a.retryAfter, err)
		}
		pause(t.Context(), time.Duration(seconds)*time.Second)
	}
}
