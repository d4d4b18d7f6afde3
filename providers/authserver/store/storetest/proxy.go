package storetest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// The failures of a [Proxy].
const (
	Pass      Failure = iota // everything arrives
	Refuse                   // a connection is closed at once
	LoseReply                // instead of the next answer of the server, the connection ends; then everything arrives
	Silent                   // nothing arrives, and nothing is closed
)

// Failure is what a [Proxy] does with connections.
type Failure int

// Proxy forwards TCP connections to a server, and fails as it is told to.
type Proxy struct {
	// Addr is the host and port where it listens.
	Addr string

	listener net.Listener
	done     sync.WaitGroup

	mu          sync.Mutex
	target      string
	failure     Failure
	connections map[net.Conn]bool
	ended       bool
}

// StartProxy starts a proxy for the server at target, which ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: listener.Addr().String(), listener: listener, target: target, connections: make(map[net.Conn]bool)}
	p.done.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.Disconnect()
		p.done.Wait()
	})
	return p
}

// Fail sets what happens from now on with all connections, also those that exist.
func (p *Proxy) Fail(failure Failure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = failure
}

// Redirect leads new connections to another server, as a name does after a failover.
func (p *Proxy) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Disconnect closes the connections that exist.
func (p *Proxy) Disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.connections {
		conn.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.serve(client) })
	}
}

// keep registers a connection. It reports false after the end of the test.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		conn.Close()
		return false
	}
	p.connections[conn] = true
	return true
}

func (p *Proxy) drop(conn net.Conn) {
	conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.connections, conn)
}

func (p *Proxy) state() (Failure, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure, p.target
}

func (p *Proxy) serve(client net.Conn) {
	if !p.keep(client) {
		return
	}
	defer p.drop(client)
	failure, target := p.state()
	if failure == Refuse {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil || !p.keep(server) {
		return
	}
	defer p.drop(server)
	p.done.Go(func() {
		p.forward(server, client, false)
		server.Close()
	})
	p.forward(client, server, true)
}

// forward copies from one connection to the other until one of them ends.
func (p *Proxy) forward(to io.Writer, from io.Reader, isReply bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		switch p.failureOf(isReply) {
		case Silent:
			continue
		case Refuse, LoseReply:
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// failureOf returns what happens to a piece of data.
func (p *Proxy) failureOf(isReply bool) Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != LoseReply {
		return p.failure
	}
	if isReply {
		p.failure = Pass
		return LoseReply
	}
	return Pass
}
