package store

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"
)

// redisDialer makes connections.
type redisDialer struct {
	address        string
	config         *tls.Config // nil without TLS
	user, password string
	database       int
}

// dial returns a connection on which commands may be sent. It takes until the deadline of ctx at most.
func (d *redisDialer) dial(ctx context.Context, generation uint64) (*redisConn, error) {
	var raw net.Conn
	var err error
	if d.config == nil {
		raw, err = new(net.Dialer).DialContext(ctx, "tcp", d.address)
	} else {
		raw, err = (&tls.Dialer{Config: d.config}).DialContext(ctx, "tcp", d.address)
	}
	if err != nil {
		return nil, err
	}
	c := &redisConn{Conn: redis.NewConn(raw, 0, 0), raw: raw, generation: generation}
	if err := d.begin(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// begin signs in and selects the database. HELLO is one command for the version of the protocol, the user and the name
// of the client, and every user may send it. "default" is the user of a server that has a password and no users.
func (d *redisDialer) begin(ctx context.Context, c *redisConn) error {
	hello := []any{"2"}
	if d.user != "" || d.password != "" {
		user := d.user
		if user == "" {
			user = "default"
		}
		hello = append(hello, "AUTH", user, d.password)
	}
	_, err := c.DoContext(ctx, "HELLO", append(hello, "SETNAME", "gatehouse")...)
	if err == nil && d.database != 0 {
		_, err = c.DoContext(ctx, "SELECT", strconv.Itoa(d.database))
	}
	return err
}

// redisConn is a connection whose calls end with the deadline of their context, the writing included. redigo has
// separate times for writing and reading, and a goroutine for each call with a context.
type redisConn struct {
	redis.Conn
	raw        net.Conn
	generation uint64
}

// DoContext implements [redis.ConnWithContext]. It ends with the deadline of ctx, and not when ctx is cancelled. After
// an error that is not an answer, the connection is closed.
func (c *redisConn) DoContext(ctx context.Context, command string, args ...any) (any, error) {
	if deadline, ok := ctx.Deadline(); ok {
		// A connection that has ended fails here and in the next lines.
		_ = c.raw.SetWriteDeadline(deadline)
	}
	if err := c.Send(command, args...); err != nil {
		return nil, err
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	return c.ReceiveContext(ctx)
}

// ReceiveContext implements [redis.ConnWithContext].
func (c *redisConn) ReceiveContext(ctx context.Context) (any, error) {
	left := callTimeout
	if deadline, ok := ctx.Deadline(); ok {
		left = max(time.Until(deadline), 1) // 0 means no limit
	}
	return redis.ReceiveWithTimeout(c.Conn, left)
}
