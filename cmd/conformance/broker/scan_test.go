package broker

import (
	"path/filepath"
	"testing"
)

// minStored is less than any store of a run has written, in bytes.
const minStored = 1000

// scanEverything searches what the world has written and shown for secrets.
func (w *world) scanEverything(t *testing.T) {
	t.Helper()
	if n := w.seen.count(); n < 20 {
		t.Errorf("the run had only %d secrets: nothing was recorded", n)
	}
	w.seen.scanPages(t)
	w.scanFiles(t)
}

// scanFiles searches the output of the replicas, their pages for operators, the audit log and the store.
func (w *world) scanFiles(t *testing.T) {
	t.Helper()
	for _, r := range w.replicas {
		w.seen.scan(t, "the output of a replica", []byte(r.output.String()))
		for _, path := range []string{"/", "/status.json", "/metrics"} {
			w.seen.scan(t, "the operator page "+path, get(t, "http://"+r.operator+path))
		}
	}
	w.seen.scan(t, "the audit log", filesBelow(t, filepath.Join(w.dir, "audit")))
	stored := filesBelow(t, w.storeDir())
	if len(stored) < minStored {
		t.Errorf("the store has written %d bytes", len(stored))
	}
	w.seen.scan(t, "the store", stored)
}
