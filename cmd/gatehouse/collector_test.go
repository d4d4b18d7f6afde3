package main

import (
	"log/slog"
	"math"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

func TestTheCollectorIsTunedUnlessSomebodyDidSo(t *testing.T) {
	const untouched, noLimit = 77, math.MaxInt64
	for name, c := range map[string]struct {
		environ []string
		cgroup  string
		percent int
		limit   int64
	}{
		"in a container":            {nil, "100000000\n", collectAtPercent, 90_000_000},
		"in one without a limit":    {nil, "max\n", collectAtPercent, noLimit},
		"on another system":         {nil, "", collectAtPercent, noLimit},
		"with nonsense for a limit": {nil, "-5", collectAtPercent, noLimit},
		"GOGC is set":               {[]string{"GOGC=77"}, "100000000", untouched, 90_000_000},
		"GOMEMLIMIT is set":         {[]string{"GOMEMLIMIT=1GiB"}, "100000000", collectAtPercent, noLimit},
		"both are empty":            {[]string{"GOGC=", "GOMEMLIMIT="}, "100000000", collectAtPercent, 90_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			percent, limit := debug.SetGCPercent(untouched), debug.SetMemoryLimit(noLimit)
			defer func() {
				debug.SetGCPercent(percent)
				debug.SetMemoryLimit(limit)
			}()
			file := filepath.Join(t.TempDir(), "absent")
			if c.cgroup != "" {
				file = write(t, "memory.max", c.cgroup)
			}
			tuneCollector(c.environ, file, slog.New(slog.DiscardHandler))
			if got := debug.SetGCPercent(untouched); got != c.percent {
				t.Errorf("it collects at %d percent, want %d", got, c.percent)
			}
			if got := debug.SetMemoryLimit(-1); got != c.limit {
				t.Errorf("the limit is %d, want %d", got, c.limit)
			}
		})
	}
}

func TestServeTunesTheCollectorUnlessSomebodyDidSo(t *testing.T) {
	const untouched = 77
	for name, c := range map[string]struct {
		environ []string
		percent uint64
	}{
		"nobody did":        {nil, collectAtPercent},
		"somebody set GOGC": {[]string{"GOGC=77"}, untouched},
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
				t.Errorf("while it serves it collects at %d percent, want %d", got, c.percent)
			}
			if code := s.stop(); code != exitOK {
				t.Errorf("it ended with %d", code)
			}
		})
	}
}
