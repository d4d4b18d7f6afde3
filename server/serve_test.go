package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/server"
)

// pipeListener accepts in-memory connections, so that a test can use a fake clock.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// blockingWriter is a log output that blocks from the first line that contains text.
type blockingWriter struct {
	text    string
	release chan struct{}
}

func (l *blockingWriter) Write(p []byte) (int, error) {
	if l.text != "" && strings.Contains(string(p), l.text) {
		<-l.release
	}
	return len(p), nil
}

// A stop ends in time whatever hangs, reports the steps that hang, and runs the other steps.
func TestServeStopsInTimeWhateverHangs(t *testing.T) {
	const drain, shutdown = 5 * time.Second, 20 * time.Second
	for name, c := range map[string]struct {
		hangs   string // a hook, "call" or a text in the log
		pending []string
		takes   time.Duration
		err     error // if no step is pending
	}{
		"nothing":                  {"", nil, drain, nil},
		"what says that it drains": {"drain", []string{"drain"}, drain + shutdown + server.StopMargin, nil},
		"what closes streams":      {"streams", []string{"streams"}, drain + shutdown + server.StopMargin, nil},
		"what closes sessions": {"sessions", []string{"sessions"}, drain + shutdown +
			server.StopMargin, nil},
		"a call":                      {"call", nil, drain + shutdown, context.DeadlineExceeded},
		"the log, from the beginning": {"msg=stopping", []string{"log"}, drain + shutdown + server.StopMargin, nil},
		"a call, and then the log": {"call msg=\"calls in flight", []string{"calls"}, drain + shutdown +
			server.StopMargin, nil},
		"every hook and a call": {"drain streams sessions call", []string{"drain", "streams", "sessions"},
			drain + shutdown + server.StopMargin, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				_, fromLog, _ := strings.Cut(c.hangs, "msg=")
				logger := slog.New(slog.NewTextHandler(&blockingWriter{text: fromLog, release: release}, nil))
				began := make(chan string, 3)
				hook := func(name string) func() {
					return func() {
						began <- name
						if slices.Contains(strings.Fields(c.hangs), name) {
							<-release
						}
					}
				}
				settings := server.DefaultSettings()
				settings.DrainTime, settings.ShutdownTimeout = drain, shutdown
				ctx, signal := context.WithCancel(t.Context())
				served := make(chan error, 1)
				ln := newPipeListener()
				handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })
				go func() {
					served <- server.Serve(ctx, ln, handler, settings, logger,
						server.Lifecycle{Draining: hook("drain"), Closing: hook("streams"),
							Closed: hook("sessions")})
				}()
				if strings.Contains(c.hangs, "call") {
					client, conn := net.Pipe()
					defer client.Close()
					ln.conns <- conn
					if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				begin := time.Now()
				signal()
				err := <-served
				took := time.Since(begin)
				if took < c.takes || took > c.takes+time.Second/2 || took > drain+shutdown+server.StopMargin {
					t.Errorf("it took %s, want %s", took, c.takes)
				}
				stopped, late := errors.AsType[*server.StopError](err)
				switch {
				case late && !slices.Equal(stopped.Pending, c.pending), late != (c.pending != nil), !late &&
					!errors.Is(err, c.err):
					t.Errorf("it ended with %v, want %v pending, or %v", err, c.pending, c.err)
				case late && stopped.After != drain+shutdown+server.StopMargin:
					t.Errorf("it says that it took %s", stopped.After)
				}
				close(release)
				synctest.Wait()
				for _, want := range []string{"drain", "streams", "sessions"} {
					if got := <-began; got != want {
						t.Errorf("%s began, want %s", got, want)
					}
				}
			})
		})
	}
}

// The times of a stop are those in force when it begins.
func TestServeStopsByTheSettingsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings, now := server.DefaultSettings(), server.DefaultSettings()
		now.DrainTime = 7 * time.Second
		ctx, signal := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- server.Serve(ctx, newPipeListener(), http.NotFoundHandler(), settings, slog.New(slog.DiscardHandler),
				server.Lifecycle{Settings: func() server.Settings { return now }})
		}()
		synctest.Wait()
		begin := time.Now()
		signal()
		if err := <-served; err != nil || time.Since(begin) != now.DrainTime {
			t.Errorf("it took %s, want %s; %v", time.Since(begin), now.DrainTime, err)
		}
	})
}
