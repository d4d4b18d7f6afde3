//go:build !linux

package server

import (
	"net"
	"time"
)

// setUserTimeout does nothing: the system has its own limit.
func limitUnacknowledged(*net.TCPConn, time.Duration) {}
