package store

import (
	"context"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// AppendOnly reports whether the server writes each change to its append-only file. Without it, the latest changes are
// lost when the server ends. known is false if the server does not say.
func (r *Redis) AppendOnly(ctx context.Context) (on, known bool) {
	settings, err := redis.StringMap(r.calls.read(ctx, "CONFIG", "GET", "appendonly"))
	if value := settings["appendonly"]; err == nil && value != "" {
		return value == "yes", true
	}
	// Hosted servers refuse CONFIG, but not INFO.
	info, err := redis.String(r.calls.read(ctx, "INFO", "persistence"))
	if err != nil {
		return false, false
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "aof_enabled:"); ok {
			return value == "1", true
		}
	}
	return false, false
}
