package diagnostics_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that the goroutines of every provider end with its context.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
