package mcptools

import (
	"time"

	"gatehouse/providers"
)

// Vitals are what a tool may report about the server. A nil function means that there is nothing to report.
type Vitals struct {
	// Started is when the server started.
	Started time.Time
	// Outcomes counts requests by how they ended.
	Outcomes func() map[string]int64
	// Sessions counts the open sessions of clients of the older era.
	Sessions func() int
	// Keys is the state of the provider's keys.
	Keys func() providers.KeyStatus
}
