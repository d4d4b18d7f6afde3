package local_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that no provider leaves a goroutine behind after its context ended.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the local issuer's library logs there
	goleak.VerifyTestMain(m)
}
