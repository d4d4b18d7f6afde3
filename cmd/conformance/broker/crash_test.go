package broker

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// crash kills a replica that has asked the provider and not stored the answer yet, twice. Of the first sign-in nothing
// is stored, so that the provider's only good refresh token is lost: that person signs in again. Of the second one it
// is stored, and the replica has not heard so: nothing is lost. Others go on at the other replica.
func (w *world) crash(t *testing.T, dying, other *replica, dropped, delivered, neighbor, late *grant) {
	w.killAtSave(t, dying, dropped, requests)
	neighbor.mustRefresh(t, other.address)
	w.restart(dying)
	w.killAtSave(t, dying, delivered, responses)
	late.mustRefresh(t, other.address)
	w.restart(dying)

	var running sync.WaitGroup
	outcomes := make([]answer, 2)
	for i, g := range []*grant{dropped, delivered} {
		running.Go(func() { outcomes[i] = w.untilAnswered(t, g, other) })
	}
	running.Wait()
	if a := outcomes[0]; a.status != http.StatusBadRequest || a.Error != "invalid_grant" {
		t.Errorf("the sign-in whose new credential was lost: %v", a)
	}
	if a := outcomes[1]; a.status != http.StatusOK {
		t.Errorf("the sign-in whose new credential was stored: %v", a)
	}
	// One family at most: the lost one is finished at both replicas, and the other one has one successor.
	for _, r := range []*replica{dying, other} {
		if a, err := dropped.refresh(r.address); err != nil || a.Error != "invalid_grant" {
			t.Errorf("the lost sign-in at %s: %v, %v", r.address, a, err)
		}
		delivered.mustRefresh(t, r.address)
		neighbor.mustRefresh(t, r.address)
		late.mustRefresh(t, r.address)
	}
	dropped.again(t)
	dropped.mustRefresh(t, dying.address)
}

// killAtSave refreshes at a replica and kills it when it stores what the provider has answered. The link to the store
// drops the bytes of a direction from the moment of the provider's answer.
func (w *world) killAtSave(t *testing.T, r *replica, g *grant, dropped direction) {
	t.Helper()
	asked := w.upstream.asked()
	w.upstream.onRenewal(func() { r.link.hold(dropped) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		if a, err := g.refresh(r.address); err == nil {
			t.Errorf("the killed replica has answered %v", a)
		}
	}()
	eventually(t, "the save is on its way", func() bool { return r.link.holds() > 0 })
	pause(t.Context(), 200*time.Millisecond)
	r.kill()
	r.link.cut()
	r.link.hold(neither)
	<-done
	if n := w.upstream.asked() - asked; n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// untilAnswered refreshes until the answer is another than to come back. The lease of the killed replica ends after 15
// seconds.
func (w *world) untilAnswered(t *testing.T, g *grant, r *replica) answer {
	began := time.Now()
	for {
		a, err := g.refresh(r.address)
		if err != nil {
			t.Error(err)
			return a
		}
		if a.status != http.StatusServiceUnavailable {
			return a
		}
		if a.retryAfter == "" || time.Since(began) > 40*time.Second {
			t.Errorf("after %s: %v, Retry-After %q", time.Since(began), a, a.retryAfter)
			return a
		}
		pause(t.Context(), time.Second)
	}
}
