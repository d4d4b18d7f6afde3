package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Lifecycle is what [Serve] calls when the server stops. Either may be nil.
type Lifecycle struct {
	// Draining is called first. From then on the server must say that it is not ready; it goes on serving for the drain
	// time, so that whoever sends traffic can send it elsewhere.
	Draining func()
	// Closing is called when the drain time is over. Open streams must end; calls in flight finish.
	Closing func()
}

// Serve answers requests on ln until ctx ends, and then stops in order: it drains, closes streams, lets calls in flight
// finish, and cuts off what is left after the shutdown timeout. It returns nil after an orderly stop. ln must accept plain
// TCP connections; how many are open at once is bounded by the settings.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, s Settings, logger *slog.Logger, l Lifecycle) error {
	open := newConnections(s, logger)
	srv := &http.Server{
		Handler:           h,
		ConnState:         open.setState,
		ReadHeaderTimeout: s.ReadHeaderTimeout,
		IdleTimeout:       s.IdleTimeout,
		MaxHeaderBytes:    s.MaxHeaderBytes,
		// No WriteTimeout: it would cut event streams and slow tools (go-sdk issue 1262).
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(open.limit(ln)) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	logger.Info("stopping", "drain_time", s.DrainTime)
	if l.Draining != nil {
		l.Draining()
	}
	select {
	case err := <-failed:
		return err
	case <-time.After(s.DrainTime):
	}
	if l.Closing != nil {
		l.Closing()
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ShutdownTimeout)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		logger.Warn("calls in flight were cut off", "after", s.ShutdownTimeout)
		_ = srv.Close() // Shutdown's error is the one that counts
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		return served
	}
	return err
}
