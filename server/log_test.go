package server_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A flood of strangers must not fill a disk, nor hide the calls of those who are let in.
func TestAFloodOfRefusalsIsLeftOutOfTheLog(t *testing.T) {
	f := start(t, options{})
	const flood = 2_000
	var strangers sync.WaitGroup
	begin := time.Now()
	for range 8 {
		strangers.Go(func() {
			for range flood / 8 {
				if r := f.ask(t, http.MethodPost, "/mcp", nil, nil); r.status != http.StatusUnauthorized {
					t.Errorf("answered %d", r.status)
				}
			}
		})
	}
	strangers.Wait()
	took := time.Since(begin)
	if r := f.ask(t, http.MethodPost, "/mcp", bearer(f.token("mcp:use")), nil); r.status != http.StatusOK {
		t.Errorf("the good call answered %d", r.status)
	}
	lines := strings.Count(f.log.String(), "reason=no_credentials")
	if most := 500 + int(20*took.Seconds()) + 1; lines > most || lines < 500 {
		t.Errorf("%d of %d refusals are in the log, want 500 to %d", lines, flood, most)
	}
	if !strings.Contains(f.log.String(), "caller.subject=alice") {
		t.Error("the good call is not in the log")
	}
	if took < 20*time.Second && !func() bool { // the next line that is let in says what is missing
		for range 100 {
			time.Sleep(60 * time.Millisecond)
			f.ask(t, http.MethodPost, "/mcp", nil, nil)
			if strings.Contains(f.log.String(), "refused requests were left out of the log") {
				return true
			}
		}
		return false
	}() {
		t.Error("nothing says that refusals are missing")
	}
}
