package main

import (
	"context"
	"fmt"
	"runtime"

	"gatehouse/cmd/gatehouse/app"
)

func version(_ context.Context, args []string, c console) int {
	flags := newFlags("version", "Print the version.", c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	fmt.Fprintf(c.stdout, "gatehouse %s (%s, %s/%s)\n", app.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}
