package server

import (
	"maps"
	"sync"

	"github.com/labstack/echo/v4"
)

// RequestCounts counts requests by how they ended: "ok", the reason of a rejection, or the class of the
// status. The zero value is ready to use. It is safe for concurrent use.
type RequestCounts struct {
	mu     sync.Mutex
	counts map[string]int64
}

// Snapshot returns the counts since the start of the process.
func (o *RequestCounts) Snapshot() map[string]int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.counts)
}

func (o *RequestCounts) record(c echo.Context) {
	if o == nil || isProbe(c) {
		return
	}
	outcome := string(stateOf(c).reason)
	switch status := c.Response().Status; {
	case outcome != "":
	case status < 400:
		outcome = "ok"
	case status < 500:
		outcome = "client_error"
	default:
		outcome = "server_error"
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.counts == nil {
		o.counts = make(map[string]int64)
	}
	o.counts[outcome]++
}
