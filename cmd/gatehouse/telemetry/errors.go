package telemetry

import (
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"

	"gatehouse/providers"
)

const (
	// errorInterval is the least time between two lines about failed exports.
	errorInterval = time.Minute
	// maxErrorBytes bounds the text of an error in the log.
	maxErrorBytes = 300
)

// errorHandler logs errors of OpenTelemetry, at most one in each interval.
type errorHandler struct {
	logger *slog.Logger

	mu         sync.Mutex
	next       time.Time
	suppressed int
}

// NewErrorHandler returns a handler for [otel.SetErrorHandler] that logs one line per minute at most. A collector that
// is down would cause one for each export.
func NewErrorHandler(logger *slog.Logger) otel.ErrorHandler { return &errorHandler{logger: logger} }

// Handle implements otel.ErrorHandler.
func (h *errorHandler) Handle(err error) {
	now := time.Now()
	h.mu.Lock()
	if now.Before(h.next) {
		h.suppressed++
		h.mu.Unlock()
		return
	}
	suppressed := h.suppressed
	h.suppressed, h.next = 0, now.Add(errorInterval)
	h.mu.Unlock()
	h.logger.Warn("telemetry failed", "error", providers.Printable(err.Error(), maxErrorBytes),
		"suppressed", suppressed)
}
