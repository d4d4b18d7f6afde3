package server

import (
	"net"
	"time"
)

// userTimeout is the TCP user timeout (RFC 5482): how long sent data may stay unacknowledged before the
// connection is closed. A peer that vanished acknowledges nothing; the system's default is about 15 minutes,
// during which a stream and its session would count against the limits.
const userTimeout = time.Minute

// userTimeoutListener sets userTimeout on each accepted connection, on systems that support it.
type userTimeoutListener struct{ net.Listener }

// Accept implements net.Listener.
func (l userTimeoutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		setUserTimeout(tcp, userTimeout)
	}
	return c, err
}
