package main

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/server/audit"
)

// auditedSides returns calls of the same server without an audit log and with one.
func auditedSides(t testing.TB, change func(*configs.Config)) (off, on func()) {
	return sides(t, newAuditFolder(t).use, change)
}

// sides returns calls of the same server as it is by default, and as prepare changes it.
func sides(t testing.TB, prepare ...func(*configs.Config)) (off, on func()) {
	call := func(prepare ...func(*configs.Config)) func() {
		settings := map[string]string{"provider.token_lifetime": "1h", "log.level": "warn"}
		srv := startServer(t, settings, prepare...)
		token := srv.token(t, "alice", "mcp:use", "greet:read")
		body, header := callModern("greet", `{"name":"Ada"}`)
		return func() {
			r := httptest.NewRequest(http.MethodPost, srv.url, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Accept", "application/json, text/event-stream")
			r.Header.Set("Authorization", "Bearer "+token)
			for k, v := range header {
				r.Header.Set(k, v)
			}
			w := deadlineRecorder{httptest.NewRecorder()}
			srv.HTTP.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
		}
	}
	return call(), call(prepare...)
}

// The cost of the audit log in allocations. Without one it is none: see TestRecordAudit_OffIsNoStep in
// package server, and TestChain_AllocatesLessThanBareHandler.
func TestAudit_AllocationsOfARecord(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates too")
	}
	off, on := auditedSides(t, func(*configs.Config) {})
	if more := moreAllocations(off, on); more > 4 {
		t.Errorf("a record costs %.0f allocations in addition to those of the call, the limit is 4", more)
	}
}

// moreAllocations returns how many allocations a call makes in addition to those of another one: the least of five
// measurements, because a garbage collection during one of them empties the pools of libraries.
func moreAllocations(off, on func()) float64 {
	const calls = 300
	least := math.Inf(1)
	for range 5 {
		without := testing.AllocsPerRun(calls, off)
		least = min(least, testing.AllocsPerRun(calls, on)-without)
	}
	return least
}

// BenchmarkAudit measures the CPU time that the audit log adds to a call, of all goroutines. Each round makes
// calls without and with it, so that load on the machine affects both equally. Reported are the quartiles of
// the differences; -benchtime=200x makes 200 rounds.
func BenchmarkAudit(b *testing.B) {
	for _, arguments := range []string{audit.ArgumentsNone, audit.ArgumentsNames} {
		b.Run("arguments "+arguments, func(b *testing.B) {
			off, on := auditedSides(b, func(c *configs.Config) { c.Audit.Arguments = arguments })
			reportPaired(b, off, on)
		})
	}
}

// cpuTime is the CPU time of the process.
func cpuTime(t testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
