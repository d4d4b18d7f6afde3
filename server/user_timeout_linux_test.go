package server

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"testing"
)

// recordingListener passes on the connections that a listener accepts.
type recordingListener struct {
	net.Listener
	conns chan net.Conn
}

func (a recordingListener) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err == nil {
		a.conns <- c
	}
	return c, err
}

func TestServeSetsTheTCPUserTimeout(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 1)
	served := make(chan struct{})
	answered := http.HandlerFunc(func(w http.ResponseWriter,
		_ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	go func() {
		defer close(served)
		_ = Serve(t.Context(), recordingListener{ln, conns}, answered, DefaultSettings(),
			slog.New(slog.DiscardHandler), Lifecycle{})
	}()
	defer func() { ln.Close(); <-served }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	raw, err := (<-conns).(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var milliseconds int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		milliseconds, failed = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if milliseconds != int(userTimeout.Milliseconds()) {
		t.Errorf("the limit is %d ms, want %v", milliseconds, userTimeout)
	}
}
