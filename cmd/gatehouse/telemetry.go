package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/configs"
	"gatehouse/server"
)

// exporters are the telemetry of a server that runs.
type exporters struct {
	*telemetry.Telemetry
	// flush exports what is left, in the time that a stop by these settings leaves. It must be called when the server
	// has stopped; later calls do nothing.
	flush func(server.Settings)
}

// startTelemetry starts the exporters of cfg. The server stops when ctx is done.
func (c console) startTelemetry(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (exporters, error) {
	if c.setErrorHandler != nil {
		c.setErrorHandler(telemetry.NewErrorHandler(logger))
	}
	t, err := telemetry.New(cfg, app.Version())
	if err != nil {
		return exporters{}, err
	}
	var stopped atomic.Pointer[time.Time]
	context.AfterFunc(ctx, func() { now := time.Now(); stopped.Store(&now) })
	var once sync.Once
	return exporters{t, func(s server.Settings) { once.Do(func() { flush(t, s, stopped.Load()) }) }}, nil
}

// setErrorHandler makes OpenTelemetry report errors to h and nothing to standard error, where the log may be JSON.
func setErrorHandler(h otel.ErrorHandler) {
	otel.SetErrorHandler(h)
	otel.SetLogger(logr.Discard())
}

// minFlushTime is how long the last export may take after a stop that took all of its time.
const minFlushTime = 250 * time.Millisecond

// flush takes no longer, together with the stop that began at stopped, than a graceful stop may take. Nil means that
// the server ended by itself.
func flush(t *telemetry.Telemetry, s server.Settings, stopped *time.Time) {
	rest := s.ShutdownTimeout
	if stopped != nil {
		rest = time.Until(stopped.Add(s.DrainTime + s.ShutdownTimeout))
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(rest, minFlushTime))
	defer cancel()
	if err := t.Shutdown(ctx); err != nil {
		otel.Handle(err) // one line a minute
	}
}
