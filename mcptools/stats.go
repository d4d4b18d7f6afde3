package mcptools

import (
	"time"

	"gatehouse/providers"
)

// Stats gives tools access to the state of the server. A nil function means that the value is not available.
type Stats struct {
	// Started is when the server started.
	Started time.Time
	// Outcomes counts finished requests by how they ended.
	Outcomes func() map[string]int64
	// Sessions counts the open sessions (MCP 2025-11-25 and older).
	Sessions func() int
	// Keys is the state of the provider's keys.
	Keys func() providers.KeyStatus
	// Upstreams are the states of the upstreams; the function is nil if there are none.
	Upstreams func() []UpstreamStats
}

// UpstreamStats is the state of an upstream.
type UpstreamStats struct {
	Name   string           `json:"name"`
	State  string           `json:"state" jsonschema:"connecting, ready, restarting or down"`
	Reason providers.Reason `json:"reason,omitempty" jsonschema:"why it is not ready"`
}
