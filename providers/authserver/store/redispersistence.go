package store

import (
	"context"
	"strings"
)

// AppendOnly reports whether the server writes each change to its append-only file. Without it, the latest changes are
// lost when the server ends. known is false if the server does not say.
func (r *Redis) AppendOnly(ctx context.Context) (on, known bool) {
	settings, err := r.do(ctx, r.client.B().ConfigGet().Parameter("appendonly").Build()).AsStrMap()
	if value := settings["appendonly"]; err == nil && value != "" {
		return value == "yes", true
	}
	// Hosted servers refuse CONFIG, but not INFO.
	info, err := r.do(ctx, r.client.B().Info().Section("persistence").Build()).ToString()
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
