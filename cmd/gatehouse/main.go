// Command gatehouse is an MCP server behind OAuth 2.1 that can be handed to any identity provider.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes, so that scripts and orchestrators can tell what to do.
const (
	exitOK       = 0
	exitFailure  = 1 // something went wrong while running
	exitConfig   = 2 // the configuration or the command line is wrong
	exitPort     = 3 // the address to listen on cannot be had
	exitProvider = 4 // the provider cannot be set up
	exitHung     = 5 // something hung while it stopped, and it ended all the same
)

// console is what a command sees of the world.
type console struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	dir            string // where .env is looked for
	memoryLimit    int64  // of the process, in bytes; 0 if there is none
	stop           *stopLimit
}

// command is one subcommand.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, c console) int
}

func commands() []command {
	return []command{
		{"serve", "serve the MCP tools (the default)", serve},
		{"issuer", "run the local issuer alone", issuer},
		{"doctor", "find out why it does not work: configuration, provider, running server", examine},
		{"token", "inspect a token, or get one", tokens},
		{"config", "print the effective configuration and where each value came from", config},
		{"healthcheck", "exit 0 if the server answers, 1 if not; for containers", healthcheck},
		{"version", "print the version", version},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals(signal.Ignored)...)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	limit := &stopLimit{stderr: os.Stderr, step: "start"}
	c := console{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), dir: dir,
		memoryLimit: processMemoryLimit(os.Environ(), cgroupFile), stop: limit,
	}
	os.Exit(limit.run(ctx, func() int { return run(ctx, os.Args[1:], c) }))
}

// stopSignals end a command in order. SIGHUP is among them, because it would otherwise end the process at
// once: a terminal that closes sends it, and service managers do for a reload, which does not exist here.
// Under nohup it stays ignored.
func stopSignals(ignored func(os.Signal) bool) []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// run picks the command. Without one, or with only flags, it serves.
func run(ctx context.Context, args []string, c console) int {
	name := "serve"
	switch {
	case len(args) == 1 && args[0] == "help", len(args) > 0 && (args[0] == "--help" || args[0] == "-h"):
		usage(c.stdout)
		return exitOK
	case len(args) > 1 && args[0] == "help":
		name, args = args[1], []string{"--help"}
	case len(args) > 0 && args[0] == "--version":
		name, args = "version", nil
	case len(args) > 0 && !strings.HasPrefix(args[0], "-"):
		name, args = args[0], args[1:]
	}
	for _, cmd := range commands() {
		if cmd.name == name {
			return cmd.run(ctx, args, c)
		}
	}
	fmt.Fprintf(c.stderr, "gatehouse: there is no command %q\n\n", name)
	usage(c.stderr)
	return exitConfig
}

func usage(w io.Writer) {
	fmt.Fprint(w, `Gatehouse is an MCP server behind OAuth 2.1 that can be handed to any identity provider.

Usage:
  gatehouse [command] [flags]

Commands:
`)
	for _, cmd := range commands() {
		fmt.Fprintf(w, "  %-12s %s\n", cmd.name, cmd.summary)
	}
	fmt.Fprint(w, `
Every command has --help. Exit codes: 0 done, 1 failed, 2 configuration or command line wrong, 3 address not to be had,
4 provider cannot be set up, 5 something hung while it stopped.
`)
}
