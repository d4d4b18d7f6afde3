// Command gatehouse is an MCP server behind OAuth 2.1 that works with any identity provider.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"gatehouse/cmd/gatehouse/app"
)

// Exit codes, for scripts and orchestrators.
const (
	exitOK       = 0
	exitFailure  = 1 // something failed at run time
	exitConfig   = 2 // invalid configuration or command line
	exitPort     = 3 // cannot listen on the address
	exitProvider = 4 // the provider cannot be set up
	exitHung     = 5 // the shutdown hung and was ended by force
)

// console is the environment of a command.
type console struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	dir            string // contains .env
	memoryLimit    int64  // of the process, in bytes; 0 if there is none
	stop           *stopLimit

	catalog app.CatalogFunc
	// setDefaultLogger is [slog.SetDefault], or nil to leave the default logger alone.
	setDefaultLogger func(*slog.Logger)
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
		{"doctor", "diagnose the configuration, the provider and the running server", doctorCommand},
		{"token", "inspect a token, or get one", tokenCommand},
		{"config", "print the effective configuration and the origin of each value", config},
		{"audit", "create a key for the audit log, or verify the log", auditCommand},
		{"healthcheck", "exit 0 if the server is healthy, 1 if not; for containers", healthcheck},
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
		catalog: app.DefaultCatalog, setDefaultLogger: slog.SetDefault,
	}
	os.Exit(limit.run(ctx, func() int { return run(ctx, os.Args[1:], c) }))
}

// stopSignals returns the signals that stop a command gracefully. They include SIGHUP, which would otherwise kill the
// process: a closing terminal sends it, and service managers send it for a reload, which is not supported. Under nohup
// it stays ignored.
func stopSignals(ignored func(os.Signal) bool) []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// run runs the command that args name. Without a name, it runs serve.
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
	fmt.Fprint(w, `Gatehouse is an MCP server behind OAuth 2.1 that works with any identity provider.

Usage:
  gatehouse [command] [flags]

Commands:
`)
	for _, cmd := range commands() {
		fmt.Fprintf(w, "  %-12s %s\n", cmd.name, cmd.summary)
	}
	fmt.Fprint(w, `
Every command has --help. Exit codes: 0 success, 1 failure, 2 invalid configuration or command line,
3 cannot listen on the address, 4 the provider cannot be set up, 5 the shutdown hung.
`)
}
