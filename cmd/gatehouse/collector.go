package main

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// A call allocates some 140 kB in the SDK, nearly all of it in buffers that are garbage at once, and with a heap of a few megabytes the
// collector would run for every thirtieth call. These settings trade some memory for that time.
const (
	collectAtPercent = 250
	// limitShare is the part of a container's memory from which on the collector works as hard as it must.
	limitShare = 0.9
)

// tuneCollector sets the garbage collector up, unless whoever runs the program did so himself (GOGC, GOMEMLIMIT).
// cgroupLimit is the file with the memory limit of the container.
func tuneCollector(environ []string, cgroupLimit string, logger *slog.Logger) {
	if !isSet(environ, "GOGC") {
		debug.SetGCPercent(collectAtPercent)
	}
	limit, limited := memoryLimit(cgroupLimit)
	if limited && !isSet(environ, "GOMEMLIMIT") {
		debug.SetMemoryLimit(limit)
		logger.Debug("memory", "limit_bytes", limit)
	}
}

func isSet(environ []string, name string) bool {
	return slices.ContainsFunc(environ, func(entry string) bool {
		value, found := strings.CutPrefix(entry, name+"=")
		return found && value != ""
	})
}

// processMemoryLimit returns the limit that [tuneCollector] makes the collector keep, or 0 if there is none.
func processMemoryLimit(environ []string, cgroupLimit string) int64 {
	if isSet(environ, "GOMEMLIMIT") {
		if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 { // the runtime has read it
			return limit
		}
		return 0
	}
	limit, _ := memoryLimit(cgroupLimit)
	return limit
}

// cgroupFile is where Linux says how much memory a container may use (cgroup v2).
const cgroupFile = "/sys/fs/cgroup/memory.max"

func memoryLimit(file string) (bytes int64, limited bool) {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0, false // another system, or none that limits anything
	}
	most, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	if err != nil || most <= 0 { // "max"
		return 0, false
	}
	return int64(float64(most) * limitShare), true
}
