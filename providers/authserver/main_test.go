package authserver_test

import (
	"io"
	"log"
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that the issuer leaves no goroutine behind, because it can be embedded in a server
// that stops.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the library logs every refusal
	goleak.VerifyTestMain(m)
}

func discardLogger() *log.Logger { return log.New(io.Discard, "", 0) }
