//go:build !linux

package server

import (
	"net"
	"time"
)

// setUserTimeout does nothing: the system's own limit applies.
func setUserTimeout(*net.TCPConn, time.Duration) {}
