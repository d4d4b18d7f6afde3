package doctor_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that an examination leaves nothing running.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the local issuer's library logs there
	goleak.VerifyTestMain(m)
}
