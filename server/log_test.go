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

// Terminals obey characters that JSON and people do not see.
func TestNamesInTheLogCannotCommandATerminal(t *testing.T) {
	f := start(t, options{})
	f.ask(t, http.MethodGet, "/%C2%9B2J%E2%80%AE%7F", nil, nil)
	token := f.issuer.Token(f.resource.String(), map[string]any{"sub": "al\u009bice\u202e", "client_id": strings.Repeat("x", 500)})
	if r := f.ask(t, http.MethodPost, "/mcp", bearer(token), nil); r.status != http.StatusOK {
		t.Fatalf("answered %d", r.status)
	}
	log := f.log.String()
	for _, want := range []string{"path=/%C2%9B2J%E2%80%AE%7F", `al\u009bice\u202e`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %s:\n%s", want, log)
		}
	}
	if strings.ContainsAny(log, "\u009b\u202e\x7f") || strings.Contains(log, strings.Repeat("x", 300)) {
		t.Errorf("the log has what a terminal obeys, or more than fits a line:\n%s", log)
	}
}
