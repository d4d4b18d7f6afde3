package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/server/audit"
)

// auditedSides returns the same server without an audit log and with one.
func auditedSides(t testing.TB, change func(*configs.Config)) (off, on func()) {
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
	return call(), call(newAuditFolder(t).use, change)
}

// The cost of the audit log in allocations. Without one it is none: see TestRecordAudit_OffIsNoStep in
// package server, and TestChain_AllocatesLessThanBareHandler.
func TestAudit_AllocationsOfARecord(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates too")
	}
	off, on := auditedSides(t, func(*configs.Config) {})
	const calls = 300
	without := testing.AllocsPerRun(calls, off)
	if more := testing.AllocsPerRun(calls, on) - without; more > 4 {
		t.Errorf("a record costs %.0f allocations in addition to %.0f of the call, the limit is 4", more, without)
	}
}

// BenchmarkAudit measures the CPU time that the audit log adds to a call, of all goroutines. Each round makes
// calls without and with it, so that load on the machine affects both equally. Reported are the quartiles of
// the differences; -benchtime=200x makes 200 rounds.
func BenchmarkAudit(b *testing.B) {
	for _, arguments := range []string{audit.ArgumentsNone, audit.ArgumentsNames} {
		b.Run("arguments "+arguments, func(b *testing.B) {
			off, on := auditedSides(b, func(c *configs.Config) { c.Audit.Arguments = arguments })
			const calls = 60
			round := func(call func()) time.Duration {
				before := cpuTime(b)
				for range calls {
					call()
				}
				time.Sleep(5 * time.Millisecond) // the writer
				return (cpuTime(b) - before) / calls
			}
			round(off)
			round(on)
			var differences []float64
			for n := 0; b.Loop(); n++ {
				first, second := off, on
				if n%2 == 1 {
					first, second = on, off
				}
				took, other := round(first), round(second)
				if n%2 == 1 {
					took, other = other, took
				}
				differences = append(differences, float64(other-took)/1000)
			}
			slices.Sort(differences)
			b.ReportMetric(0, "ns/op")
			for _, quartile := range []int{1, 2, 3} {
				b.ReportMetric(differences[len(differences)*quartile/4], fmt.Sprintf("us-more-q%d", quartile))
			}
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
