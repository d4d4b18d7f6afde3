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
	"sync"
	"sync/atomic"
	"time"
)

// headerBudget bounds what all unfinished request headers together may cost in memory, in bytes. An honest
// client sends its header within milliseconds, so that only clients that never finish theirs reach it.
const headerBudget = 32 << 20

// limitPerAddress is how the log names the limit of one peer address.
const limitPerAddress = "server.max_connections_per_address"

// headerCost estimates what net/http keeps of a piece of an unfinished header: the text, in a buffer that
// doubles as it grows, and for each field an entry in a map, which for short fields is twenty times as large
// as the text.
func headerCost(size, fields int) int { return 2*size + 128*fields }

// tooManyFields answers a request whose header has far more than maxFields fields before it ends: reading the
// rest would take milliseconds of processor time.
const tooManyFields = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// connections bounds how many connections are open at once, in all and for each peer address. At a limit the
// connection that has been idle longest is closed; if none is idle, the new one. A connection is idle while
// it has no complete request header: after it was accepted, and between requests. It counts as idle too while
// a request without a verified token has not sent all of the body that it announced: otherwise strangers could
// occupy every connection for as long as a body may take.
//
// It wraps the listener and is the server's ConnState hook. The connections carry plain HTTP.
type connections struct {
	maxTotal, maxPerAddress int
	trusted                 proxyRanges // many callers share the addresses of a proxy
	reports                 connectionReports

	mu        sync.Mutex
	total     int
	addresses map[netip.Prefix]*peerAddress
	idle      list.List // of *connection, the longest idle in front
	headers   list.List // of *connection with an unfinished header, the oldest in front
	cost      int       // of all unfinished headers
}

// peerAddress is what the connections of one address have in common.
type peerAddress struct {
	prefix netip.Prefix
	open   int
	idle   list.List // as connections.idle
}

func newConnections(s Settings, logger *slog.Logger) *connections {
	return &connections{
		maxTotal: s.MaxConnections, maxPerAddress: s.MaxConnectionsPerAddress, trusted: newProxyRanges(s.TrustedProxies),
		reports:   connectionReports{logger: logger, counts: map[string]*connectionReport{}},
		addresses: map[netip.Prefix]*peerAddress{},
	}
}

// limit returns a listener whose connections are counted.
func (c *connections) limit(ln net.Listener) net.Listener { return &limitedListener{ln, c} }

type limitedListener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener. A connection that is over a limit is closed and not returned.
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

// add counts conn and makes room for it if it must. It returns nil if there is no room, and the limit that
// was reached, if one was.
func (c *connections) add(conn net.Conn) (counted *connection, limit string) {
	prefix, bounded := c.peerOf(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if address := c.addresses[prefix]; bounded && address != nil && address.open >= c.maxPerAddress {
		limit = limitPerAddress
		if !c.closeFirst(&address.idle) {
			return nil, limit
		}
	}
	if c.total >= c.maxTotal {
		limit = "server.max_connections"
		if !c.closeFirst(&c.idle) {
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

// peerOf returns the address that conn is counted for: one address of IPv4, a /64 of IPv6, out of which one
// host can choose. It reports false for a trusted proxy.
func (c *connections) peerOf(conn net.Conn) (netip.Prefix, bool) {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}, false // not an IP network
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if c.trusted.contain(ip) {
		return netip.Prefix{}, false
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	return prefix, err == nil
}

// closeFirst closes the first connection of a list and reports whether there was one. mu must be held, here
// and below.
func (c *connections) closeFirst(of *list.List) bool {
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
	conn.waiting.Store(true)
}

// setReplaceable lets conn make room for another connection.
func (c *connections) setReplaceable(conn *connection) {
	conn.idle = c.idle.PushBack(conn)
	if conn.address != nil {
		conn.idleOfAddress = conn.address.idle.PushBack(conn)
	}
}

func (c *connections) setBusy(conn *connection) {
	conn.waiting.Store(false)
	if conn.idle != nil {
		c.idle.Remove(conn.idle)
	}
	if conn.idleOfAddress != nil {
		conn.address.idle.Remove(conn.idleOfAddress)
	}
	if conn.header != nil {
		c.headers.Remove(conn.header)
	}
	c.cost -= conn.cost
	conn.idle, conn.idleOfAddress, conn.header, conn.cost, conn.fields = nil, nil, nil, 0, 0
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

// setState is the ConnState hook of http.Server, which reports a connection as active only when it has read a
// whole header.
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
		c.setBusy(counted) // out of the lists, if it is in any
		c.setIdle(counted)
	}
}

// read accounts for a piece of a header. When the budget is exceeded, connections whose headers began first
// are closed. It reports false if this header has too many fields.
func (c *connections) read(conn *connection, piece []byte) bool {
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
	// What was read before is all header, because the header has not ended. This piece may hold a body as
	// well.
	if conn.fields > 2*maxFields {
		return "fields of one request header", false
	}
	conn.fields += fields
	cost := headerCost(size, fields)
	if conn.header == nil {
		conn.header = c.headers.PushBack(conn)
		// A connection with a request on its way is no longer the longest idle; only once for each header, so
		// that sending it byte by byte gains nothing.
		c.idle.MoveToBack(conn.idle)
		if conn.address != nil {
			conn.address.idle.MoveToBack(conn.idleOfAddress)
		}
	}
	conn.cost += cost
	c.cost += cost
	for c.cost > headerBudget && c.closeFirst(&c.headers) {
		limit = "unfinished request headers"
	}
	return limit, true
}

// connection is one that is counted. Everything but waiting belongs to the table's mutex.
type connection struct {
	net.Conn
	table   *connections
	address *peerAddress // nil if it counts in all only
	waiting atomic.Bool  // what is read is a header

	idle, idleOfAddress, header *list.Element
	cost, fields                int // of its unfinished header
	removed                     bool
}

// Read implements net.Conn.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.waiting.Load() && !c.table.read(c, p[:n]) {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(c.Conn, tooManyFields)
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
	if !c.removed && !c.waiting.Load() {
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

// CloseWrite lets net/http end an answer without a reset that would overtake it.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// connectionReports writes a line once a minute for each limit that closes connections.
type connectionReports struct {
	logger *slog.Logger

	mu     sync.Mutex
	counts map[string]*connectionReport // by limit, of which there are four
}

type connectionReport struct {
	logged time.Time
	closed int // since then
}

// reportInterval is how often the log repeats what goes on.
const reportInterval = time.Minute

func (r *connectionReports) add(limit string, peer net.Addr) {
	if n := r.due(limit, time.Now()); n > 0 {
		host, _, _ := net.SplitHostPort(peer.String())
		text := "connections were closed at a limit"
		if limit == limitPerAddress {
			text += "; a proxy belongs in server.trusted_proxies"
		}
		r.logger.Warn(text, "limit", limit, "count", n, "last_address", host)
	}
}

// due returns how many closed connections a line has to report now; 0 if it is too early for the next one.
func (r *connectionReports) due(limit string, now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.counts[limit]
	if one == nil {
		one = &connectionReport{}
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
