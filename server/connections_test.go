package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/server"
)

// peerListener is a listener without a network, whose peers have the addresses that a test assigns.
type peerListener struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (p *peerListener) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *peerListener) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *peerListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

type peerConn struct {
	net.Conn
	peer net.Addr
}

func (p peerConn) RemoteAddr() net.Addr { return p.peer }

// pipeServer is a server on a peerListener, inside a synctest bubble.
type pipeServer struct {
	*peerListener
	t        *testing.T
	log      *buffer
	release  chan struct{} // lets requests to /slow end
	settings atomic.Pointer[server.Settings]
}

func startPipeServer(t *testing.T, change func(*server.Settings)) *pipeServer {
	t.Helper()
	h := &pipeServer{peerListener: &peerListener{accepted: make(chan net.Conn), closed: make(chan struct{})},
		t: t, log: &buffer{}, release: make(chan struct{})}
	settings := server.DefaultSettings()
	settings.DrainTime = 0
	change(&settings)
	h.settings.Store(&settings)
	lifecycle := server.Lifecycle{Settings: func() server.Settings { return *h.settings.Load() }}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-h.release
		}
		_, _ = io.WriteString(w, "served")
	})
	logger := slog.New(slog.NewTextHandler(h.log, nil))
	go func() { served <- server.Serve(ctx, h, handler, settings, logger, lifecycle) }()
	t.Cleanup(func() {
		close(h.release)
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the server did not stop cleanly: %v", err)
		}
	})
	return h
}

// client is one connection to a pipeServer.
type client struct {
	net.Conn
	t      *testing.T
	closed bool // by the server
	mu     sync.Mutex
	got    strings.Builder
}

// dial connects from an address and records the responses.
func (h *pipeServer) dial(from string) *client {
	h.t.Helper()
	peer, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(from, "1000"))
	if err != nil {
		h.t.Fatal(err)
	}
	near, far := net.Pipe()
	c := &client{Conn: near, t: h.t}
	h.t.Cleanup(func() { _ = near.Close() })
	h.accepted <- peerConn{far, peer}
	go func() {
		lines := bufio.NewReader(near)
		for {
			line, err := lines.ReadString('\n')
			c.mu.Lock()
			c.got.WriteString(line)
			if err != nil {
				c.closed = !errors.Is(err, io.ErrClosedPipe)
				c.mu.Unlock()
				return
			}
			c.mu.Unlock()
		}
	}()
	synctest.Wait()
	return c
}

// send writes text and returns when the server has read it or closed the connection.
func (c *client) send(text string) {
	go func() { _, _ = io.WriteString(c.Conn, text) }()
	synctest.Wait()
}

func (c *client) get(path string) {
	c.send(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path))
}

func (c *client) isClosed() bool {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *client) answers() int {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Count(c.got.String(), "HTTP/1.1 200 OK")
}

func (c *client) text() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.String()
}

func connectionStates(clients ...*client) string {
	var out strings.Builder
	for _, c := range clients {
		if c.isClosed() {
			out.WriteByte('-')
		} else {
			out.WriteByte('o')
		}
	}
	return out.String()
}

// At a limit the longest idle connection is closed. A connection is idle before its first request and between two
// requests.
func TestConnectionLimitsCloseTheLongestIdle(t *testing.T) {
	perAddress := func(n int) func(*server.Settings) {
		return func(s *server.Settings) { s.MaxConnectionsPerAddress = n }
	}
	inAll := func(n int) func(*server.Settings) { return func(s *server.Settings) { s.MaxConnections = n } }
	for name, c := range map[string]struct {
		settings func(*server.Settings)
		from     []string
		do       func(h *pipeServer, c []*client) // when the first of them are connected, before the last one is
		want     string                           // for each, o is open and - is closed
	}{
		"one that was never used": {settings: perAddress(2),
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, want: "-oo"},
		"one that was used longer ago": {settings: perAddress(2),
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"},
			do:   func(_ *pipeServer, c []*client) { c[1].get("/"); c[0].get("/") }, want: "o-o"},
		"one whose header is on its way is not the first": {settings: perAddress(2),
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"},
			do:   func(_ *pipeServer, c []*client) { c[0].send("GET / HTTP/1.1\r\n") }, want: "o-o"},
		"one that sends its header byte by byte gains once": {settings: perAddress(2),
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"},
			do:   func(_ *pipeServer, c []*client) { c[0].send("G"); c[1].send("G"); c[0].send("E") }, want: "-oo"},
		"one that is served is not closed": {settings: perAddress(2),
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"},
			do:   func(_ *pipeServer, c []*client) { c[0].get("/slow") }, want: "o-o"},
		"the new one, where all are served": {settings: perAddress(2),
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"},
			do:   func(_ *pipeServer, c []*client) { c[0].get("/slow"); c[1].get("/slow") }, want: "oo-"},
		"none of another address": {settings: perAddress(1),
			from: []string{"192.0.2.1", "192.0.2.2"}, want: "oo"},
		"none of another /64": {settings: perAddress(1),
			from: []string{"2001:db8:0:1::1", "2001:db8:0:2::1"}, want: "oo"},
		"one of the same /64": {settings: perAddress(1),
			from: []string{"2001:db8:0:1::1", "2001:db8:0:1::2"}, want: "-o"},
		"one of the same IPv4, as a dual listener shows it": {settings: perAddress(1),
			from: []string{"192.0.2.1", "::ffff:192.0.2.1"}, want: "-o"},
		"one of any address, where there are too many in all": {settings: inAll(2),
			from: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, want: "-oo"},
		"one of any address whose header is not on its way": {settings: inAll(2),
			from: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"},
			do:   func(_ *pipeServer, c []*client) { c[0].send("GET / HTTP/1.1\r\n") }, want: "o-o"},
		"the new one, where all in all are served": {settings: inAll(1), from: []string{"192.0.2.1", "192.0.2.2"},
			do: func(_ *pipeServer, c []*client) { c[0].get("/slow") }, want: "o-"},
		"none of a trusted proxy": {settings: func(s *server.Settings) {
			s.MaxConnectionsPerAddress,
				s.TrustedProxies = 1, []string{"192.0.2.0/24"}
		},
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, want: "ooo"},
		"none of a trusted proxy whose range is written for a dual listener": {
			settings: func(s *server.Settings) {
				s.MaxConnectionsPerAddress, s.TrustedProxies = 1, []string{"::ffff:192.0.2.0/120"}
			},
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, want: "ooo"},
		"one of a trusted proxy, where there are too many in all": {
			settings: func(s *server.Settings) {
				s.MaxConnections, s.TrustedProxies = 2, []string{"192.0.2.0/24"}
			},
			from: []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, want: "-oo"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startPipeServer(t, c.settings)
				var clients []*client
				for i, from := range c.from {
					if i == len(c.from)-1 && c.do != nil {
						c.do(h, clients)
					}
					clients = append(clients, h.dial(from))
				}
				if got := connectionStates(clients...); got != c.want {
					t.Errorf("open are %s, want %s", got, c.want)
				}
				if strings.Contains(c.want, "-") != strings.Contains(h.log.String(),
					"connections closed at a limit") {
					t.Errorf("the log says %s", h.log)
				}
			})
		})
	}
}

// The limits are those of the settings in force when a connection is accepted.
func TestConnectionLimitsFollowTheSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipeServer(t, func(s *server.Settings) { s.MaxConnectionsPerAddress = 1 })
		set := func(change func(*server.Settings)) {
			settings := *h.settings.Load()
			change(&settings)
			h.settings.Store(&settings)
		}
		var clients []*client
		for _, step := range []struct {
			change func(*server.Settings)
			want   string // after another connection from the same address
		}{
			{func(*server.Settings) {}, "o"},
			{func(s *server.Settings) { s.MaxConnectionsPerAddress = 2 }, "oo"},
			{func(s *server.Settings) { s.TrustedProxies = []string{"192.0.2.1/32"} }, "ooo"},
			{func(s *server.Settings) { s.MaxConnections = 3 }, "-ooo"},
		} {
			set(step.change)
			clients = append(clients, h.dial("192.0.2.1"))
			if got := connectionStates(clients...); got != step.want {
				t.Errorf("open are %s, want %s", got, step.want)
			}
		}
	})
}

// A connection stops counting when either side closes it, and is counted once.
func TestConnectionLimitsDoNotCountClosedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipeServer(t, func(s *server.Settings) { s.MaxConnectionsPerAddress, s.MaxConnections = 2, 2 })
		for i := range 10 {
			c := h.dial("192.0.2.1")
			switch i % 3 {
			case 0:
				c.get("/")
				_ = c.Close()
			case 1:
				c.send("no request\r\n\r\n") // answered with 400 and closed
			default:
				_ = c.Close()
			}
			synctest.Wait()
		}
		busy := []*client{h.dial("192.0.2.1"), h.dial("192.0.2.1")}
		for _, c := range busy {
			c.get("/slow")
		}
		refused := h.dial("192.0.2.1")
		if got := connectionStates(append(busy, refused)...); got != "oo-" {
			t.Errorf("open are %s, want oo-", got)
		}
		h.release <- struct{}{}
		h.release <- struct{}{}
		if busy[0].answers() != 1 || busy[1].answers() != 1 {
			t.Error("a call was lost")
		}
	})
}

// Connections closed at a limit are one log line a minute with their number.
func TestConnectionLimitsLogOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipeServer(t, func(s *server.Settings) { s.MaxConnectionsPerAddress = 1 })
		for range 20 {
			h.dial("192.0.2.1")
		}
		time.Sleep(time.Minute)
		h.dial("192.0.2.1") // the last one has timed out
		h.dial("192.0.2.1")
		lines := strings.Count(h.log.String(), "connections closed at a limit")
		if lines != 2 || !strings.Contains(h.log.String(),
			"limit=server.max_connections_per_address count=19 last_address=192.0.2.1") {
			t.Errorf("%d lines, want 2, and 18 left out and one more in the second:\n%s", lines, h.log)
		}
	})
}

// Unfinished headers share one memory limit: the oldest are dropped, and a request that is sent at once is served.
func TestUnfinishedHeadersShareOneMemoryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipeServer(t, func(*server.Settings) {})
		flood := "GET / HTTP/1.1\n" + strings.Repeat("a:\n", 1_300)
		var flooders []*client
		for i := range 250 {
			c := h.dial(fmt.Sprintf("192.0.2.%d", i/10))
			c.send(flood)
			flooders = append(flooders, c)
		}
		stillOpen := strings.Count(connectionStates(flooders...), "o")
		// 192 times 1,301 lines of 128 bytes and two times their text are the budget of 32 MiB.
		if stillOpen != 192 {
			t.Errorf("%d unfinished headers are kept, want 192", stillOpen)
		}
		if strings.Contains(connectionStates(flooders[250-192:]...), "-") {
			t.Error("not the oldest were dropped")
		}
		c := h.dial("198.51.100.1")
		c.get("/")
		if c.answers() != 1 {
			t.Error("a client with a short header was not served")
		}
		for _, c := range flooders {
			_ = c.Close()
		}
		// Their memory is available again.
		for i := range 150 {
			h.dial(fmt.Sprintf("192.0.2.%d", i)).send(flood)
		}
		if got := strings.Count(h.log.String(), "unfinished request headers"); got != 1 {
			t.Errorf("%d lines are about unfinished headers, want 1:\n%s", got, h.log)
		}
	})
}

// A field of two letters costs more than a hundred bytes of memory, and CPU time.
func TestUnfinishedHeaderHasAFieldLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipeServer(t, func(*server.Settings) {})
		c := h.dial("192.0.2.1")
		c.send("GET / HTTP/1.1\r\n" + strings.Repeat("ab:\r\n", 5_000))
		if got := c.text(); !strings.HasPrefix(got, "HTTP/1.1 431 ") || !c.isClosed() {
			t.Errorf("answered %q", got)
		}
		if !strings.Contains(h.log.String(), `limit="fields of one request header"`) {
			t.Errorf("the log says %s", h.log)
		}
		// Lines of a body and of a previous header do not count.
		c = h.dial("192.0.2.1")
		lines := strings.Repeat("\n", 3_000)
		for range 3 {
			c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", len(lines), lines))
		}
		if c.answers() != 3 {
			t.Errorf("%d of 3 requests with bodies of many lines were served: %s", c.answers(), c.text())
		}
	})
}

// Wrapping the connection must not break how net/http closes it after an early response: a reset would discard the
// response.
func TestResponseBeforeTheBodyIsSentArrives(t *testing.T) {
	f := start(t, options{})
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	head := "POST /mcp HTTP/1.1\r\nHost: " + f.resource.Host() + "\r\nContent-Length: 10000000\r\n\r\n"
	if _, err := io.WriteString(conn, head+strings.Repeat("x", 300_000)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), " 401 ") {
		t.Errorf("got %.40q, %v", answer, err)
	}
}

// Strangers must not occupy every connection with requests whose bodies never come.
func TestARequestThatKeepsItsBodyBackMakesRoom(t *testing.T) {
	for name, c := range map[string]struct {
		request  func(f *testServer) string
		makeRoom bool
	}{
		"to a public route": {func(*testServer) string { return "GET /health HTTP/1.1\r\nHost: x\r\n" }, true},
		"with a bad token": {func(f *testServer) string {
			return "POST /mcp HTTP/1.1\r\nHost: " + f.address + "\r\nAuthorization: Bearer x\r\n"
		}, true},
		"of a caller": {func(f *testServer) string {
			return "POST /mcp HTTP/1.1\r\nHost: " + f.address + "\r\nX-Read: 1\r\n" +
				"Authorization: Bearer " + f.token("mcp:use") + "\r\n"
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, options{settings: func(s *server.Settings) { s.MaxConnections = 3 }})
			f.transport.CloseIdleConnections()
			for range 3 {
				conn, err := net.Dial("tcp", f.address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				if _, err := io.WriteString(conn, c.request(f)+"Content-Length: 1000\r\n\r\n{"); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(200 * time.Millisecond) // until the requests are being served
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Get("http://" + f.address + "/health")
			if err == nil {
				_ = resp.Body.Close()
			}
			if (err == nil) != c.makeRoom {
				t.Errorf("another connection is answered with %v", err)
			}
		})
	}
}
