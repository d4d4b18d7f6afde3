package main

import (
	"context"
	"fmt"
	"io"

	"gatehouse/configs"
	"gatehouse/mcptools/upstream"
)

const runArguments = "-- COMMAND ARGS"

const runHelp = `Put an existing MCP server behind a sign-in, without a file: the command after --, which speaks MCP on
stdio, or with --url a server on HTTP. All its tools are offered to callers with the scope mcp:use. The local issuer
signs them in, and the server listens on loopback only, unless another provider is configured. The command is not run
by a shell. At the end of its banner, run prints the profile for what comes next.

The upstream is called main. Its settings are flags such as --upstreams.main.tools="read_* > files:read". A secret
belongs into a file: GATEHOUSE_UPSTREAMS__MAIN__AUTHORIZATION_FILE for --url, --upstreams.main.env_file for a command.`

// runUpstream serves one upstream that the command line names.
func runUpstream(ctx context.Context, args []string, c console) int {
	flags := newFlags("run", runHelp, c, runArguments)
	url := flags.String("url", "", "URL of a server on HTTP, instead of a command")
	settings := settingsFlags(flags, c)
	flags.SetInterspersed(false) // flags of the command are not ours
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	command := flags.Args()
	problem := ""
	switch {
	case len(command) > 0 && flags.ArgsLenAtDash() != 0:
		problem = fmt.Sprintf("the command follows --: gatehouse run -- %s", upstream.Command(command))
	case len(command) > 0 && flags.Changed("url"):
		problem = "name a command or --url, not both"
	case len(command) > 0:
		if err := upstream.CheckProgram(command[0]); err != nil {
			problem = err.Error()
		}
	case *url == "":
		problem = "name the command of a server, as in `gatehouse run -- npx -y some-server`, or --url"
	}
	if problem != "" {
		fmt.Fprintf(c.stderr, "gatehouse run: %s\n", problem)
		return exitConfig
	}
	sources := settings()
	sources.Run = &configs.Run{Command: command, URL: *url}
	return c.serve(ctx, sources, serving{showsProfile: true})
}

// printProfile prints the profile that serves the same.
func printProfile(w io.Writer, cfg *configs.Config) {
	profile, err := cfg.Profile()
	if err != nil {
		return // what was loaded can be written
	}
	fmt.Fprintf(w, `  To keep this, save the lines below as gatehouse.yaml and run: gatehouse --config gatehouse.yaml
  Next, give the tools scopes of their own in tools, such as "read_* list_* > files:read", and choose a provider.

# gatehouse.yaml
%s
`, profile)
}
