package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	connectTimeout = 2 * time.Second
	callTimeout    = time.Second
	retryPause     = 5 * time.Millisecond
)

// newRedis returns a store that connects with its first call. The roots are those of the system if nil.
func newRedis(at redisLocation, password string, roots *x509.CertPool) (*Redis, error) {
	dialer := &redisDialer{address: at.address}
	options := rueidis.ClientOption{
		InitAddress: []string{at.address}, ForceSingleClient: true, SelectDB: at.database,
		Username: at.user, Password: password, ClientName: "gatehouse", ClientSetInfo: []string{}, // no further commands
		DialCtxFn: dialer.dial, Dialer: net.Dialer{Timeout: connectTimeout}, ConnWriteTimeout: connectTimeout,
		// Records are read to be replaced, so a copy of the client would be of no use.
		DisableCache: true,
		// One connection carries all calls at once. Buffers for the largest page would be kept for nothing.
		PipelineMultiplex: -1, RingScaleEachConn: 8, ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
		// Only calls that read are repeated, and once: the server may have closed an idle connection. A call must not
		// wait for a server that is down.
		RetryDelay: func(attempts int, _ rueidis.Completed, _ error) time.Duration {
			if attempts == 1 {
				return retryPause
			}
			return -1
		},
	}
	if at.tls {
		options.TLSConfig = &tls.Config{ServerName: at.host, RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	client, err := rueidis.NewClient(options) // connects, and keeps a client that could not
	if client == nil {
		return nil, fmt.Errorf("redis store %s: %w", at.address, err)
	}
	dialer.opened.Store(true)
	return &Redis{client: client, dialer: dialer, scripts: newRedisScripts(), prefix: at.prefix, hide: password}, nil
}

// do sends a command.
func (r *Redis) do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	if err := ctx.Err(); err != nil {
		return rueidis.NewErrorResult(err)
	}
	ctx, cancel := r.limit(ctx)
	defer cancel()
	return r.client.Do(ctx, command)
}

// run runs a script that answers with a number.
func (r *Redis) run(ctx context.Context, script *rueidis.Lua, keys []string, args ...string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, r.describe(err)
	}
	ctx, cancel := r.limit(ctx)
	defer cancel()
	answer, err := script.Exec(ctx, r.client, keys, args).AsInt64()
	if refused, ok := rueidis.IsRedisErr(err); ok && strings.Contains(refused.Error(), "READONLY") {
		r.dialer.disconnect() // the address may lead to another server by now
	}
	return answer, r.describe(err)
}

// limit returns the context of one call. A call ends with its own time, and not when ctx is cancelled: calls share a
// connection, and the first of them makes it for the others.
func (r *Redis) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := callTimeout
	if !r.dialer.connected() {
		timeout = connectTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

// redisDialer makes the connection, and knows it.
type redisDialer struct {
	address string
	opened  atomic.Bool // false until the client exists: creating it must not wait for the network
	current atomic.Pointer[redisConn]
}

var errNotYet = errors.New("not connected yet")

func (d *redisDialer) dial(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (
	conn net.Conn, err error) {
	if !d.opened.Load() {
		return nil, errNotYet
	}
	if config == nil {
		conn, err = dialer.DialContext(ctx, "tcp", address)
	} else {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	c := &redisConn{conn, d}
	d.current.Store(c)
	return c, nil
}

func (d *redisDialer) connected() bool { return d.current.Load() != nil }

func (d *redisDialer) disconnect() {
	if c := d.current.Load(); c != nil {
		c.Close()
	}
}

// redisConn is a connection that tells its dialer when it is closed.
type redisConn struct {
	net.Conn
	dialer *redisDialer
}

func (c *redisConn) Close() error {
	c.dialer.current.CompareAndSwap(c, nil)
	return c.Conn.Close()
}
