package server

import (
	"net"
	"time"
)

// userTimeout is how long what was written to a connection may stay without an acknowledgement of the peer
// before the connection ends (RFC 5482). A peer that vanished without a word acknowledges nothing, and the
// default is a quarter of an hour, in which a stream, and the session that holds it, would keep their places.
const userTimeout = time.Minute

// userTimeoutListener sets that limit on each connection that it accepts, where the system has it.
type userTimeoutListener struct{ net.Listener }

// Accept implements net.Listener.
func (l userTimeoutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		setUserTimeout(tcp, userTimeout)
	}
	return c, err
}
