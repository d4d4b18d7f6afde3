package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/server"
)

// openUpstreams starts the upstreams, and then listens. The listener is nil if one of the two failed, which is
// reported, and code is the exit code then.
func (c console) openUpstreams(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (
	_ *app.Upstreams, _ net.Listener, code int,
) {
	upstreams, err := app.NewUpstreams(cfg, logger)
	if err != nil {
		return nil, nil, c.upstreamFailed(cfg, err)
	}
	var ln net.Listener
	stopKeys := func() {}
	if keys := upstreams.Keys(); keys != nil {
		if ln, err = net.Listen("tcp", cfg.Server.Listen); err != nil {
			return nil, nil, c.listenFailed(cfg, err)
		}
		stopKeys = serveKeys(ln.(*net.TCPListener), keys)
	}
	c.stop.begin("start of the upstreams")
	err = upstreams.Open(ctx)
	stopKeys()
	c.stop.begin("start of the server")
	switch {
	case err != nil && ctx.Err() != nil:
		code = logStopped(logger, nil) // interrupted
	case err != nil:
		code = c.upstreamFailed(cfg, err)
	case ln != nil:
		return upstreams, ln, exitOK
	default:
		if ln, err = net.Listen("tcp", cfg.Server.Listen); err == nil {
			return upstreams, ln, exitOK
		}
		code = c.listenFailed(cfg, err)
	}
	closeUnused(upstreams)
	if ln != nil {
		ln.Close()
	}
	return nil, nil, code
}

// serveKeys answers requests for the keys of this server until stop is called, and all others with 503: an upstream
// that verifies its tokens may fetch the keys when it gets the first one, which is before the server can serve. The
// listener stays open.
func serveKeys(ln *net.TCPListener, keys http.Handler) (stop func()) {
	const patience = 5 * time.Second
	handler := http.NewServeMux()
	handler.Handle(app.JWKSPath, keys)
	handler.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "the server starts\n")
	})
	s := &http.Server{
		Handler: handler, ReadTimeout: patience, WriteTimeout: patience, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(lentListener{ln}) // it ends with stop
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
		<-served
		_ = ln.SetDeadline(time.Time{})
	}
}

// lentListener is a listener that another server uses later: Close ends Accept, and nothing else.
type lentListener struct{ *net.TCPListener }

// Close implements net.Listener.
func (l lentListener) Close() error { return l.SetDeadline(time.Now()) }

// listenFailed reports that the address cannot be listened on.
func (c console) listenFailed(cfg *configs.Config, err error) int {
	fmt.Fprintf(c.stderr, "gatehouse: %s\n", serveListenError(cfg, err))
	return exitPort
}

// upstreamFailed reports that an upstream keeps the server from starting.
func (c console) upstreamFailed(cfg *configs.Config, err error) int {
	fmt.Fprintf(c.stderr, "gatehouse: an upstream cannot be offered\n%s\n", upstreamError(cfg, err))
	return exitUpstream
}

// closeUnused ends upstreams that no server uses.
func closeUnused(upstreams *app.Upstreams) {
	ctx, cancel := context.WithTimeout(context.Background(), server.StopMargin)
	defer cancel()
	upstreams.Close(ctx)
}
