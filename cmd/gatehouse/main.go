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

	"github.com/mattn/go-isatty"
	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
)

// Exit codes, for scripts and orchestrators.
const (
	exitOK       = 0
	exitFailure  = 1 // something failed at run time
	exitConfig   = 2 // invalid configuration or command line
	exitPort     = 3 // cannot listen on the address
	exitProvider = 4 // the provider cannot be set up
	exitHung     = 5 // the shutdown hung and was ended by force
	exitUpstream = 6 // an upstream, or one of its tools, cannot be offered
)

// console is the environment of a command.
type console struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // standard output is a terminal
	interactive    bool // standard output or standard input is a terminal, whose end is a SIGHUP
	environ        []string
	dir            string // contains .env
	memoryLimit    int64  // of the process, in bytes; 0 if there is none
	stop           *stopLimit
	hangups        *hangups

	catalog app.CatalogFunc
	// setDefaultLogger is [slog.SetDefault], or nil to leave the default logger alone.
	setDefaultLogger func(*slog.Logger)
	// setErrorHandler sets the error handler of OpenTelemetry, which is global; nil leaves it alone.
	setErrorHandler func(otel.ErrorHandler)
	// flagsOnly, if it is set, receives the flags of a command, which then ends without doing anything.
	flagsOnly func(*pflag.FlagSet)
}

// command is one command of the program, or a subcommand of one.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, c console) int
	// arguments are what a subcommand needs besides flags, as its usage line shows it.
	arguments string
	// subcommands are what the command consists of, if run is nil, or can do besides.
	subcommands []command
}

// commandGroup is a part of the list of commands.
type commandGroup struct {
	title    string
	commands []command
}

func commandGroups() []commandGroup {
	return []commandGroup{
		{"Run", []command{
			{name: "serve", summary: "serve the MCP tools (the default)", run: serve},
			{name: "run", summary: "put an existing MCP server behind a sign-in, without a file", run: runUpstream},
			{name: "broker", summary: "run the authorization server of kind broker alone, for other MCP servers",
				run: broker, subcommands: brokerCommands()},
			{name: "issuer", summary: "run the local issuer alone", run: issuer},
		}},
		{"Find out what is wrong", []command{
			{name: "doctor", summary: "diagnose the configuration, the provider and the running server", run: doctorCommand},
			{name: "token", summary: "inspect a token, or get one", subcommands: tokenCommands()},
			{name: "config", summary: "print the effective configuration and the origin of each value", run: config},
			{name: "upstream", summary: "list the tools of upstreams, or pin their definitions",
				subcommands: upstreamCommands()},
		}},
		{"For operators and auditors", []command{
			{name: "deny", summary: "stop one person, client or token, at once", run: deny},
			{name: "secret", summary: "create or replace the secrets of the sign-in broker", run: secret},
			{name: "audit", summary: "create a key for the audit log, or verify the log", subcommands: auditCommands()},
		}},
		{"For scripts and shells", []command{
			{name: "healthcheck", summary: "exit 0 if the server is healthy, 1 if not; for containers", run: healthcheck},
			{name: "completion", summary: "print a completion script for bash, zsh or fish", run: completion},
			{name: "version", summary: "print the version", run: version},
		}},
	}
}

func commands() []command {
	var all []command
	for _, group := range commandGroups() {
		all = append(all, group.commands...)
	}
	return all
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	hangups := watchHangups(stop)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, func() {
		stop()
		hangups.end()
	})
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	limit := &stopLimit{stderr: os.Stderr, step: "start"}
	c := console{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), dir: dir,
		terminal: isTerminal(os.Stdout), interactive: isTerminal(os.Stdout) || isTerminal(os.Stdin),
		memoryLimit: processMemoryLimit(os.Environ(), cgroupFile), stop: limit, hangups: hangups,
		catalog: app.DefaultCatalog, setDefaultLogger: slog.SetDefault, setErrorHandler: setErrorHandler,
	}
	os.Exit(limit.run(ctx, func() int { return run(ctx, os.Args[1:], c) }))
}

func isTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()) }

// run runs the command that args name. Without a name, it runs serve.
func run(ctx context.Context, args []string, c console) int {
	name := "serve"
	switch {
	case len(args) == 1 && args[0] == "help", len(args) > 0 && (args[0] == "--help" || args[0] == "-h"):
		usage(c.stdout)
		return exitOK
	case len(args) > 1 && args[0] == "help":
		name, args = args[1], []string{"--help"}
	case len(args) > 0 && (args[0] == "--version" || args[0] == "-v"):
		name, args = "version", nil
	case len(args) > 0 && !strings.HasPrefix(args[0], "-"):
		name, args = args[0], args[1:]
	}
	for _, cmd := range commands() {
		if cmd.name == name {
			return cmd.start(ctx, args, c)
		}
	}
	fmt.Fprintf(c.stderr, "gatehouse: there is no command %q%s\n`gatehouse --help` lists the commands\n",
		name, commandHint(name))
	return exitConfig
}

// commandHint returns what to write instead of an unknown command, or "".
func commandHint(name string) string {
	if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		return "; a profile is named by --config=" + name
	}
	var names []string
	for _, cmd := range commands() {
		names = append(names, cmd.name)
	}
	if near := configs.Nearest(name, append(names, "help")); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// example is a command in the help.
type example struct{ about, command string }

func examples() []example {
	return []example{
		{"Try it: a demo on this computer, which needs no account", "gatehouse"},
		{"Put an existing MCP server behind a sign-in", "gatehouse run -- " +
			"npx -y @modelcontextprotocol/server-filesystem@2026.8.31 ."},
		{"Serve with the sign-in of your company", "gatehouse --resource=https://mcp.example.com/mcp " +
			"--provider.preset=keycloak --provider.issuer=https://login.example.com/realms/main --scopes.required=mcp:use"},
		{"Find out why it does not work", "gatehouse doctor --config=configs/oidc.yaml"},
	}
}

func usage(w io.Writer) {
	fmt.Fprint(w, `Gatehouse is an MCP server behind OAuth 2.1 that works with any identity provider.

Usage:
  gatehouse [command] [flags]
`)
	for _, group := range commandGroups() {
		fmt.Fprintf(w, "\n%s:\n", group.title)
		for _, cmd := range group.commands {
			fmt.Fprintf(w, "  %-12s %s\n", cmd.name, cmd.summary)
		}
	}
	fmt.Fprint(w, "\nExamples:\n")
	for _, e := range examples() {
		fmt.Fprintf(w, "  # %s\n  %s\n", e.about, strings.ReplaceAll(e.command, " --", " \\\n    --"))
	}
	fmt.Fprint(w, `
Every command has --help; `+"`gatehouse serve --help`"+` lists all settings. Exit codes: 0 success, 1 failure,
2 invalid configuration or command line, 3 cannot listen on the address, 4 the provider cannot be set up,
5 the shutdown hung, 6 an upstream does not answer, or its tools cannot be offered.
`)
}
