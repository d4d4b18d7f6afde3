package broker

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFileStore restarts gatehouse with sign-ins in a file.
func TestFileStore(t *testing.T) {
	needPrograms(t, *scripts)
	t.Parallel()
	w := newWorld(t, inFile)
	r := w.startReplica(t)
	earlier, client := w.signIn(t, "alice"), w.register(t)

	second := w.run(append(slices.Clone(r.args), "--server.listen="+freeAddress(t),
		"--operator.listen="+freeAddress(t), "--audit.dir="+filepath.Join(w.dir, "audit", "second")))
	<-second.exited
	if code := second.cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("a second process exits %d", code)
	}
	if out := second.output.String(); !strings.Contains(out, "in use") {
		t.Errorf("a second process says %q", out)
	}

	if code := r.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.restart(r)
	if status := earlier.call(t, r.address); status != http.StatusOK {
		t.Errorf("the token of before the restart: %d", status)
	}
	earlier.mustRefresh(t, r.address)
	if status := earlier.call(t, r.address); status != http.StatusOK {
		t.Errorf("the refreshed token: %d", status)
	}
	later := &grant{world: w, account: "bob", client: client}
	later.again(t)

	r.kill() // and after kill -9
	w.restart(r)
	earlier.mustRefresh(t, r.address)
	later.mustRefresh(t, r.address)
	w.scanEverything(t)
}
