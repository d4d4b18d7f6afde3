// Command smoke is an MCP client that answers one question: does a stack work, from the first 401 to the answer of a tool? It
// finds its way as any client does, signs in at the demo issuer as a person in front of a browser would, calls one tool, and
// shows every request on the way. It exits 0 if all went well, 1 if not.
//
// It is no part of the product: an operator has `gatehouse token get` and a browser. stack.sh runs the whole compose stack.
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
	flags.StringVar(&o.url, "url", "http://localhost:3002/mcp", "the MCP endpoint, as clients spell it")
	flags.StringSliceVar(&o.connectTo, "connect-to", nil, "HOST:PORT=HOST:PORT: dial the second where an address names the first, which stays as it is in URLs, Host and certificate")
	flags.StringVar(&o.ca, "ca", "", "file with certificates to trust instead of the system's")
	flags.StringVar(&o.person, "person", "alice", "who signs in, at the demo issuer")
	flags.StringVar(&o.tool, "tool", "whoami", "the tool to call, without arguments; whoami is a demo tool (tools.demo)")
	timeout := flags.Duration("timeout", 30*time.Second, "how long everything may take")
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
