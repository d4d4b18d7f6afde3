// Command conformance serves the fixtures of the official MCP conformance suite behind the product's HTTP
// chain, with a proxy in front that signs in, because the suite cannot. run.sh runs the suite and real
// clients. It is for tests only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/oauth2"
)

const usage = `Usage:
  conformance serve [flags]           serve the fixtures of the suite; the flags are those of gatehouse serve
  conformance proxy ADDRESS RESOURCE  listen on ADDRESS, sign in at RESOURCE, and forward requests with the token;
                                      with ACCESS_TOKEN in the environment, do not sign in
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
		if token := os.Getenv("ACCESS_TOKEN"); token != "" {
			return proxy(ctx, args[1], args[2], oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
		}
		return proxy(ctx, args[1], args[2], &tokenSource{ctx: ctx, resource: args[2]})
	}
	return fmt.Errorf("no such command\n\n%s", usage)
}
