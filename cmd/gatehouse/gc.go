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

// A call allocates some 140 kB in the SDK, nearly all of it in short-lived buffers. With a heap of a few
// megabytes, the garbage collector would run once for every thirty calls; these settings use more memory so
// that it runs less often.
const (
	gcPercent = 250
	// memoryLimitShare is the share of the container's memory that becomes the runtime's soft memory limit.
	memoryLimitShare = 0.9
)

// tuneGC configures the garbage collector, unless GOGC or GOMEMLIMIT is set. cgroupLimit is the file with the memory
// limit of the container.
func tuneGC(environ []string, cgroupLimit string, logger *slog.Logger) {
	if !isSet(environ, "GOGC") {
		debug.SetGCPercent(gcPercent)
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

// processMemoryLimit returns the memory limit in bytes that is in force after [tuneGC], or 0 if there is none.
func processMemoryLimit(environ []string, cgroupLimit string) int64 {
	if isSet(environ, "GOMEMLIMIT") {
		if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 { // the runtime has parsed GOMEMLIMIT
			return limit
		}
		return 0
	}
	limit, _ := memoryLimit(cgroupLimit)
	return limit
}

// cgroupFile contains the memory limit of the container on Linux (cgroup v2, memory.max).
const cgroupFile = "/sys/fs/cgroup/memory.max"

// memoryLimit returns memoryLimitShare of the limit in file, in bytes.
func memoryLimit(file string) (bytes int64, limited bool) {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0, false // another operating system, or no memory controller
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	if err != nil || limit <= 0 { // "max"
		return 0, false
	}
	return int64(float64(limit) * memoryLimitShare), true
}
