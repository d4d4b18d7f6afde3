package local_test

import (
	"testing"
	"time"
)

const resource = "http://localhost:3002/mcp"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// eventually polls, because the condition becomes true in the background.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("within 10 s it did not happen that %s", what)
		}
	}
}
