package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	// connectTimeout is for a call that has to connect, callTimeout for a command and its answer.
	connectTimeout = 2 * time.Second
	callTimeout    = time.Second
	// A connection that was idle for testAfter is tested before its next command, which may be a change. The server,
	// or something on the way to it, may have ended it.
	testAfter   = time.Second
	testTimeout = 500 * time.Millisecond
	// Further calls wait for a connection.
	maxConnections = 16
	idleTimeout    = time.Minute
)

// newRedis returns a store that connects with its first call. The roots are those of the system if nil.
func newRedis(at redisLocation, password string, roots *x509.CertPool) *Redis {
	dialer := &redisDialer{address: at.address, user: at.user, password: password, database: at.database}
	if at.tls {
		dialer.config = &tls.Config{ServerName: at.host, RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &Redis{calls: newRedisCalls(dialer), scripts: newRedisScripts(), prefix: at.prefix, address: at.address,
		hide: password}
}

// redisCalls sends commands on connections that it keeps.
type redisCalls struct {
	pool redis.Pool
	// slots has a value for each connection in use. The pool could wait by itself, but panics when it is closed while a
	// call waits and the time of that call ends.
	slots chan struct{}
	// generation is that of the connections which may be borrowed.
	generation atomic.Uint64
}

func newRedisCalls(dialer *redisDialer) *redisCalls {
	c := &redisCalls{slots: make(chan struct{}, maxConnections)}
	c.pool = redis.Pool{MaxIdle: maxConnections, IdleTimeout: idleTimeout, TestOnBorrowContext: c.test,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			conn, err := dialer.dial(ctx, c.generation.Load())
			if err != nil {
				return nil, err
			}
			return conn, nil
		}}
	return c
}

// read sends a command that changes nothing. It is repeated once if the connection ends: the server may have closed an
// idle one.
func (c *redisCalls) read(ctx context.Context, command string, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := limit(ctx)
	defer cancel()
	send := func(ctx context.Context, conn redis.Conn) (any, error) {
		return redis.DoContext(conn, ctx, command, args...)
	}
	answer, err := c.call(ctx, send)
	if err != nil && !isAnswer(err) && !isTimeout(err) {
		answer, err = c.call(ctx, send)
	}
	return answer, err
}

// change runs a script that answers with a number. It is sent once: whether a change without an answer was made is
// unknown. A server that does not know a script has made no change, and gets its text then.
func (c *redisCalls) change(ctx context.Context, script *redis.Script, keyAndArgs ...any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ctx, cancel := limit(ctx)
	defer cancel()
	answer, err := redis.Int64(c.call(ctx, func(ctx context.Context, conn redis.Conn) (any, error) {
		return script.DoContext(ctx, conn, keyAndArgs...)
	}))
	if isAnswer(err) && strings.Contains(err.Error(), "READONLY") {
		c.discard() // the address may lead to another server by now
	}
	return answer, err
}

func (c *redisCalls) call(ctx context.Context, send func(context.Context, redis.Conn) (any, error)) (any, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, errors.New("all connections are in use")
	}
	defer func() { <-c.slots }()
	conn, err := c.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close() // back to the pool
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := send(ctx, conn)
	if err != nil && !isAnswer(err) {
		c.discard() // what ended this connection has probably ended the others
	}
	return answer, err
}

// discard prevents that a connection which exists is borrowed again.
func (c *redisCalls) discard() { c.generation.Add(1) }

// test reports why an idle connection must not be used. The pool closes it then.
func (c *redisCalls) test(ctx context.Context, conn redis.Conn, used time.Time) error {
	if own, ok := conn.(*redisConn); !ok || own.generation != c.generation.Load() {
		return errors.New("another connection of its time has failed")
	}
	if time.Since(used) < testAfter {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	_, err := redis.DoContext(conn, ctx, "PING")
	if err != nil && !isAnswer(err) {
		c.discard()
		return err
	}
	return nil // also if the user has no right to PING
}

// limit returns the context of one call. A call ends with its own time, and not when ctx is cancelled: that would end
// the connection, and leave unknown whether a change was made.
func limit(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

// isAnswer reports whether the server has answered with an error. The connection is in order then.
func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
