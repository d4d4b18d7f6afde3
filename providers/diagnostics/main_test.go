package diagnostics_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that the goroutines of every provider end with its context.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the local issuer's library logs there
	goleak.VerifyTestMain(m)
}
