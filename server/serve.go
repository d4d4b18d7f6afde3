package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// maxHeaderBytes leaves room for the largest token that is accepted.
	maxHeaderBytes = 48 << 10
	// shutdownTimeout is how long calls in flight may take once the server stops.
	shutdownTimeout = 20 * time.Second
)

// Serve answers requests on ln until ctx ends, and then stops in order: closing is called so that open streams end, calls
// in flight finish, and what is left after 20 seconds is cut off. It returns nil after an orderly stop.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, logger *slog.Logger, closing func()) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// No WriteTimeout: it would cut event streams and slow tools (go-sdk issue 1262).
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	closing()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := s.Shutdown(grace)
	if err != nil {
		logger.Warn("calls in flight were cut off", "after", shutdownTimeout)
		_ = s.Close() // Shutdown's error is the one that counts
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		return served
	}
	return err
}
