package broker

import (
	"net"
	"sync"
	"testing"
)

// link is a network connection to a store that a test can hold: what is sent then arrives nowhere.
type link struct {
	address string

	mu    sync.Mutex
	conns map[net.Conn]bool
	held  direction
	kept  int // bytes that were held
}

// direction is of bytes on a link.
type direction int

const (
	neither direction = iota
	requests
	responses
)

func startLink(t *testing.T, target string) *link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{address: ln.Addr().String(), conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			inner, err := ln.Accept()
			if err != nil {
				return
			}
			outer, err := net.Dial("tcp", target)
			if err != nil {
				inner.Close()
				continue
			}
			l.keep(inner, outer)
			running.Go(func() { l.carry(outer, inner, requests) })
			running.Go(func() { l.carry(inner, outer, responses) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		l.cut()
		running.Wait()
	})
	return l
}

func (l *link) keep(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		l.conns[conn] = true
	}
}

// carry copies bytes of one direction, and drops them while that is held.
func (l *link) carry(to, from net.Conn, which direction) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !l.drop(which, n) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) drop(which direction, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != which {
		return false
	}
	l.kept += n
	return true
}

// hold begins to hold a direction.
func (l *link) hold(which direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.kept = which, 0
}

// holds returns how many bytes were held.
func (l *link) holds() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}

// cut closes all connections.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		conn.Close()
	}
	clear(l.conns)
}
