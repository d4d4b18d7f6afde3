package main

import (
	"strings"
	"testing"
)

// A run takes twelve minutes, so a wrong command line is refused at once.
func TestWrongCommandLineIsRefusedAtOnce(t *testing.T) {
	for args, want := range map[string]string{
		"chain":           `unexpected argument "chain"`,
		"--rounds=0":      "--rounds",
		"--connections=0": "--connections",
		"--slice=0":       "--slice",
		"--slice=1":       "must be a duration",

		"--relayed --only=stdio": "--relayed measures all its rows",
	} {
		if err := run(t.Context(), strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
