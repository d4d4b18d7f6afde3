// Command conformance is for tests only. It puts the fixtures of the official MCP conformance suite behind the house's
// real chain, and a proxy in front that signs in, because the suite cannot. run.sh runs the suite and real clients
// against both.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `Usage:
  conformance serve [flags]              serve the suite's fixtures; the flags are those of gatehouse serve
  conformance proxy ADDRESS RESOURCE     listen on ADDRESS, sign in at RESOURCE, and pass requests on with the token
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) > 0 && args[0] == "serve":
		return serve(ctx, args[1:])
	case len(args) == 3 && args[0] == "proxy":
		return proxy(ctx, args[1], args[2])
	}
	return fmt.Errorf("no such command\n\n%s", usage)
}
