package authserver_test

import (
	"io"
	"log"
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that the issuer leaves no goroutine behind: a house that embeds it must be able to stop.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the library logs every refusal
	goleak.VerifyTestMain(m)
}

func discardLogger() *log.Logger { return log.New(io.Discard, "", 0) }
