package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/server/audit"
)

// Metrics make no allocations for attributes: their sets are made once.
func TestTelemetry_AllocationsOfMetrics(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates too")
	}
	off, on := sides(t, usePrometheus)
	if more := moreAllocations(off, on); more > 3 {
		t.Errorf("metrics cost %.0f allocations in addition to those of the call, the limit is 3", more)
	}
}

// BenchmarkTelemetry measures the CPU time that metrics, the audit log and traces add to a call, of all goroutines, as
// BenchmarkAudit does. -benchtime=200x makes 200 rounds.
func BenchmarkTelemetry(b *testing.B) {
	collector := newTestCollector(b)
	traces := func(share float64) []func(*configs.Config) {
		return []func(*configs.Config){collector.use, usePrometheus, sampleOf(share)}
	}
	audited := newAuditFolder(b)
	for _, c := range []struct {
		name    string
		prepare []func(*configs.Config)
	}{
		{"metrics", []func(*configs.Config){usePrometheus}},
		{"metrics and audit", []func(*configs.Config){usePrometheus, audited.use, func(cfg *configs.Config) {
			cfg.Audit.Arguments = audit.ArgumentsNames
		}}},
		{"metrics and traces, none sampled", traces(0)},
		{"metrics and traces, all sampled", traces(1)},
	} {
		b.Run(c.name, func(b *testing.B) {
			off, on := sides(b, c.prepare...)
			reportPaired(b, off, on)
		})
	}
}

// reportPaired reports the quartiles of the differences in CPU time between two sides. Each round makes calls of both,
// in alternating order, so that load on the machine affects them equally.
func reportPaired(b *testing.B, off, on func()) {
	const calls = 60
	round := func(call func()) time.Duration {
		before := cpuTime(b)
		for range calls {
			call()
		}
		time.Sleep(5 * time.Millisecond) // the writer of the audit log
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
}
