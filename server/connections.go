package server

import (
	"bytes"
	"container/list"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxHeaderMemory bounds the estimated memory of all unfinished request headers together, in bytes. A normal
// client sends its header within milliseconds, so only clients that never finish their headers reach the
// limit.
const maxHeaderMemory = 32 << 20

// limitPerAddress is the name of the limit per peer address in the log.
const limitPerAddress = "server.max_connections_per_address"

// headerCost estimates what net/http holds of a part of an unfinished header, in bytes: the text, in a
// buffer that doubles as it grows, and a map entry for each field, which for short fields is twenty times
// the text.
func headerCost(size, fields int) int { return 2*size + 128*fields }

// response431 is sent to a client whose unfinished header has far more than maxHeaderFields fields: reading
// the rest would take milliseconds of CPU time.
const response431 = "HTTP/1.1 431 Request Header Fields Too Large\r\n" +
	"Content-Length: 0\r\nConnection: close\r\n\r\n"

// connections limits how many connections are open at once, in total and for each peer address. At a limit,
// the connection that has been idle longest is closed; if none is idle, the new connection is closed. A
// connection is idle while it has no complete request header: after it is accepted, and between requests. It
// counts as idle too while a request without a verified token has not sent all of the body that it announced:
// otherwise unauthenticated clients could occupy every connection for as long as a body may take.
//
// It wraps the listener and provides the server's ConnState hook. The connections carry plain HTTP.
type connections struct {
	settings func() Settings // those in force
	reports  limitReports

	mu         sync.Mutex
	proxies    []string    // the setting that trusted was read from
	trusted    proxyRanges // many callers share the address of a proxy
	total      int
	addresses  map[netip.Prefix]*peerAddress
	idle       list.List // of *connection, the longest idle first
	unfinished list.List // of *connection with an unfinished header, the oldest first
	cost       int       // of all unfinished headers
}

// peerAddress is the state of all connections of one peer address.
type peerAddress struct {
	prefix netip.Prefix
	open   int
	idle   list.List // like connections.idle
}

func newConnections(settings func() Settings, logger *slog.Logger) *connections {
	return &connections{
		settings:  settings,
		reports:   limitReports{logger: logger, counts: map[string]*limitReport{}},
		addresses: map[netip.Prefix]*peerAddress{},
	}
}

// LimitConnections limits how many connections srv, a server besides the one of [Serve], has open at once on ln: in
// total, and from each address. At a limit, the connection that has been idle longest is closed. It sets two hooks of
// srv, and returns the listener to serve. name is that of the listener in the log.
func LimitConnections(
	srv *http.Server, ln net.Listener, total, perAddress int, name string, logger *slog.Logger,
) net.Listener {
	limits := Settings{MaxConnections: total, MaxConnectionsPerAddress: perAddress}
	conns := newConnections(func() Settings { return limits }, logger)
	conns.reports.listener = name
	srv.ConnState, srv.ConnContext = conns.setState, connContext
	return conns.limit(userTimeoutListener{ln})
}

// limit returns a listener whose connections are counted.
func (c *connections) limit(ln net.Listener) net.Listener { return &limitedListener{ln, c} }

type limitedListener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener. It closes connections beyond a limit instead of returning them.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		counted, limit := l.connections.add(conn)
		if limit != "" {
			l.connections.reports.add(limit, conn.RemoteAddr())
		}
		if counted != nil {
			return counted, nil
		}
		_ = conn.Close()
	}
}

// add counts conn, closing an idle connection at a limit. It returns nil if no connection is idle, and the
// name of the limit if one was reached.
func (c *connections) add(conn net.Conn) (counted *connection, limit string) {
	settings := c.settings()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.proxies, settings.TrustedProxies) {
		c.proxies, c.trusted = settings.TrustedProxies, newProxyRanges(settings.TrustedProxies)
	}
	prefix, bounded := c.countKey(conn)
	if address := c.addresses[prefix]; bounded && address != nil && address.open >= settings.MaxConnectionsPerAddress {
		limit = limitPerAddress
		if !c.closeOldest(&address.idle) {
			return nil, limit
		}
	}
	if c.total >= settings.MaxConnections {
		limit = "server.max_connections"
		if !c.closeOldest(&c.idle) {
			return nil, limit
		}
	}
	counted = &connection{Conn: conn, table: c}
	c.total++
	if bounded {
		address := c.addresses[prefix]
		if address == nil {
			address = &peerAddress{prefix: prefix}
			c.addresses[prefix] = address
		}
		address.open++
		counted.address = address
	}
	c.setIdle(counted)
	return counted, limit
}

// countKey returns the address that conn is counted under: an IPv4 address, or the /64 of an IPv6 address,
// within which one host can choose any address. It reports false for a trusted proxy. The caller holds mu.
func (c *connections) countKey(conn net.Conn) (netip.Prefix, bool) {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}, false // not an IP network
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if c.trusted.contains(ip) {
		return netip.Prefix{}, false
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	return prefix, err == nil
}

// closeOldest closes the first connection of a list and reports whether there was one. The caller of this
// and of the following methods holds mu.
func (c *connections) closeOldest(of *list.List) bool {
	first := of.Front()
	if first == nil {
		return false
	}
	victim, _ := first.Value.(*connection)
	c.remove(victim)
	_ = victim.Conn.Close()
	return true
}

func (c *connections) setIdle(conn *connection) {
	c.setReplaceable(conn)
	conn.readingHeader.Store(true)
}

// setReplaceable lets conn make room for another connection.
func (c *connections) setReplaceable(conn *connection) {
	conn.idle = c.idle.PushBack(conn)
	if conn.address != nil {
		conn.idleInAddress = conn.address.idle.PushBack(conn)
	}
}

func (c *connections) setBusy(conn *connection) {
	conn.readingHeader.Store(false)
	if conn.idle != nil {
		c.idle.Remove(conn.idle)
	}
	if conn.idleInAddress != nil {
		conn.address.idle.Remove(conn.idleInAddress)
	}
	if conn.unfinished != nil {
		c.unfinished.Remove(conn.unfinished)
	}
	c.cost -= conn.cost
	conn.idle, conn.idleInAddress, conn.unfinished, conn.cost, conn.fields = nil, nil, nil, 0, 0
}

func (c *connections) remove(conn *connection) {
	if conn.removed {
		return
	}
	conn.removed = true
	c.setBusy(conn)
	c.total--
	if address := conn.address; address != nil {
		if address.open--; address.open == 0 {
			delete(c.addresses, address.prefix)
		}
	}
}

// setState is the ConnState hook of http.Server, which reports a connection as active once a complete header
// is read.
func (c *connections) setState(conn net.Conn, state http.ConnState) {
	counted, ok := conn.(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case counted.removed:
	case state == http.StateActive:
		c.setBusy(counted)
	case state == http.StateIdle:
		c.setBusy(counted) // removes it from any list
		c.setIdle(counted)
	}
}

// headerRead counts a part of a header. Beyond maxHeaderMemory, the connections whose headers started first
// are closed. It reports false if this header has too many fields.
func (c *connections) headerRead(conn *connection, piece []byte) bool {
	limit, ok := c.account(conn, len(piece), bytes.Count(piece, []byte{'\n'}))
	if limit != "" {
		c.reports.add(limit, conn.RemoteAddr())
	}
	return ok
}

func (c *connections) account(conn *connection, size, fields int) (limit string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.removed || conn.idle == nil {
		return "", true
	}
	// Everything read before is header, because the header has not ended. This part may contain a body as
	// well.
	if conn.fields > 2*maxHeaderFields {
		return "fields of one request header", false
	}
	conn.fields += fields
	cost := headerCost(size, fields)
	if conn.unfinished == nil {
		conn.unfinished = c.unfinished.PushBack(conn)
		// A connection that is receiving a request is no longer the longest idle. It moves once per header
		// only, so that sending a header byte by byte gains nothing.
		c.idle.MoveToBack(conn.idle)
		if conn.address != nil {
			conn.address.idle.MoveToBack(conn.idleInAddress)
		}
	}
	conn.cost += cost
	c.cost += cost
	for c.cost > maxHeaderMemory && c.closeOldest(&c.unfinished) {
		limit = "unfinished request headers"
	}
	return limit, true
}

// connection is a counted connection. Every field but readingHeader is guarded by the table's mutex.
type connection struct {
	net.Conn
	table         *connections
	address       *peerAddress // nil if it counts towards the total only
	readingHeader atomic.Bool  // the bytes read are a request header

	idle, idleInAddress, unfinished *list.Element
	cost, fields                    int // of its unfinished header
	removed                         bool
}

// Read implements net.Conn.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.readingHeader.Load() && !c.table.headerRead(c, p[:n]) {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(c.Conn, response431)
		return 0, io.EOF // net/http closes the connection
	}
	return n, err
}

// awaitBody notes that the request has not sent its body yet, and that its token is not verified.
func (c *connection) awaitBody() {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if !c.removed && c.idle == nil {
		c.table.setReplaceable(c)
	}
}

// proceed notes that the request has sent its body, or that its token is verified.
func (c *connection) proceed() {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if !c.removed && !c.readingHeader.Load() {
		c.table.setBusy(c)
	}
}

// connectionKey is the key of a request's *connection in its context.
type connectionKey struct{}

// connContext is the ConnContext hook of http.Server.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// connectionOf returns the connection of a request, or nil if it is not counted.
func connectionOf(ctx context.Context) *connection {
	conn, _ := ctx.Value(connectionKey{}).(*connection)
	return conn
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.table.mu.Lock()
	c.table.remove(c)
	c.table.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets net/http deliver a response before it closes the connection: if unread data remains,
// closing resets the connection, and the client may lose the response.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// limitReports logs once a minute, for each limit, how many connections it closed.
type limitReports struct {
	logger *slog.Logger
	// listener is the name of a listener whose limits are no settings; empty for that of [Serve].
	listener string

	mu     sync.Mutex
	counts map[string]*limitReport // by limit
}

type limitReport struct {
	logged time.Time
	closed int // since the last line
}

// reportInterval is the minimum time between two log lines about the same limit.
const reportInterval = time.Minute

func (r *limitReports) add(limit string, peer net.Addr) {
	if n := r.due(limit, time.Now()); n > 0 {
		host, _, _ := net.SplitHostPort(peer.String())
		text := "connections closed at a limit"
		if r.listener != "" {
			r.logger.Warn(text, "listener", r.listener, "count", n, "last_address", host)
			return
		}
		if limit == limitPerAddress {
			text += "; list proxies in server.trusted_proxies"
		}
		r.logger.Warn(text, "limit", limit, "count", n, "last_address", host)
	}
}

// due counts a closed connection and returns how many to report now; 0 if the interval has not elapsed.
func (r *limitReports) due(limit string, now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.counts[limit]
	if one == nil {
		one = &limitReport{}
		r.counts[limit] = one
	}
	one.closed++
	if now.Sub(one.logged) < reportInterval {
		return 0
	}
	n := one.closed
	one.logged, one.closed = now, 0
	return n
}
