package broker

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that no goroutine is left.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the local issuer's library logs there
	goleak.VerifyTestMain(m)
}
