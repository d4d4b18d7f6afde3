package authserver

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestLogIsRateLimited(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(newLimitedHandler(slog.NewTextHandler(&log, nil))).With("component",
		strings.Repeat("c", 1_000))
	for range 2 * logBurst {
		logger.Info("client registered", "client_id", strings.Repeat("é", 1_000),
			slog.Group("request", "name", strings.Repeat("n", 1_000)))
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) < logBurst || len(lines) > logBurst+logRate {
		t.Errorf("%d lines are in the log, want about %d", len(lines), logBurst)
	}
	for _, line := range lines {
		if len(line) > 4*maxLoggedBytes || !strings.Contains(line, "truncated") {
			t.Fatalf("a line of %d bytes: %s", len(line), line)
		}
	}
}

func TestLogReportsDroppedLines(t *testing.T) {
	var log bytes.Buffer
	h := newLimitedHandler(slog.NewTextHandler(&log, nil))
	h.dropped.Store(7)
	slog.New(h).Info("client registered")
	if !strings.Contains(log.String(), "lines_left_out_before=7") {
		t.Errorf("the log: %s", &log)
	}
}
