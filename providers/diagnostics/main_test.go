package diagnostics_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that no provider leaves a goroutine behind when its context has ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
