// Command smoke is an MCP client that tests a running stack, from the first 401 to the result of a tool. It
// discovers the authorization server, signs in at the demo issuer as a person with a browser does, directly or
// through the sign-in broker, calls one tool, and prints every request. The exit code is 0 if all succeed, and 1
// otherwise.
//
// It is not part of the product: operators have `gatehouse token get`. stack.sh tests the whole compose stack.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command runs the client with these arguments and returns the exit code, 0 or 1.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("smoke", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(stderr)
	var o options
	flags.StringVar(&o.url, "url", "http://localhost:3002/mcp", "URL of the MCP endpoint, as its clients have it")
	flags.StringSliceVar(&o.connectTo, "connect-to", nil,
		"HOST:PORT=HOST:PORT: connect to the second instead of the first; URLs, Host and TLS keep the first")
	flags.StringVar(&o.ca, "ca", "", "file with the certificates to trust instead of the system's")
	flags.StringVar(&o.person, "person", "alice", "name of the person who signs in at the demo issuer")
	flags.StringVar(&o.tool, "tool", "whoami",
		"tool to call, without arguments; whoami is a demo tool (tools.demo)")
	timeout := flags.Duration("timeout", 30*time.Second, "time limit of the whole run")
	if err := flags.Parse(args); err != nil {
		if !errors.Is(err, pflag.ErrHelp) {
			fmt.Fprintf(stderr, "smoke: %v\n", err)
		}
		return 1
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := o.run(ctx, stdout); err != nil {
		fmt.Fprintf(stderr, "smoke: %v\n", err)
		return 1
	}
	return 0
}
