package main

import (
	"log/slog"
	"math"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// These tests change settings of the process, so they do not run in parallel.

func TestTuneGC_RespectsEnvironment(t *testing.T) {
	const untouched, noLimit = 77, math.MaxInt64
	for name, c := range map[string]struct {
		environ []string
		cgroup  string
		percent int
		limit   int64
	}{
		"in a container":          {nil, "100000000\n", gcPercent, 90_000_000},
		"without a limit":         {nil, "max\n", gcPercent, noLimit},
		"without cgroups":         {nil, "", gcPercent, noLimit},
		"with a negative limit":   {nil, "-5", gcPercent, noLimit},
		"GOGC is set":             {[]string{"GOGC=77"}, "100000000", untouched, 90_000_000},
		"GOMEMLIMIT is set":       {[]string{"GOMEMLIMIT=1GiB"}, "100000000", gcPercent, noLimit},
		"both are set, but empty": {[]string{"GOGC=", "GOMEMLIMIT="}, "100000000", gcPercent, 90_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			percent, limit := debug.SetGCPercent(untouched), debug.SetMemoryLimit(noLimit)
			defer func() {
				debug.SetGCPercent(percent)
				debug.SetMemoryLimit(limit)
			}()
			file := filepath.Join(t.TempDir(), "absent")
			if c.cgroup != "" {
				file = writeFile(t, "memory.max", c.cgroup)
			}
			tuneGC(c.environ, file, slog.New(slog.DiscardHandler))
			if got := debug.SetGCPercent(untouched); got != c.percent {
				t.Errorf("GOGC is %d, want %d", got, c.percent)
			}
			if got := debug.SetMemoryLimit(-1); got != c.limit {
				t.Errorf("the memory limit is %d, want %d", got, c.limit)
			}
		})
	}
}

func TestServe_TunesGC(t *testing.T) {
	const untouched = 77
	for name, c := range map[string]struct {
		environ []string
		percent uint64
	}{
		"by default":  {nil, gcPercent},
		"GOGC is set": {[]string{"GOGC=77"}, untouched},
	} {
		t.Run(name, func(t *testing.T) {
			percent, limit := debug.SetGCPercent(untouched), debug.SetMemoryLimit(-1)
			defer func() {
				debug.SetGCPercent(percent)
				debug.SetMemoryLimit(limit)
			}()
			s, _ := startServiceIn(t, c.environ, "serve", "--resource=http://ADDRESS/mcp")
			sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
			metrics.Read(sample)
			if got := sample[0].Value.Uint64(); got != c.percent {
				t.Errorf("GOGC is %d while it serves, want %d", got, c.percent)
			}
			if code := s.stop(); code != exitOK {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
