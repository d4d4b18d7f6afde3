package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// start runs the command, or the subcommand that args name.
func (cmd command) start(ctx context.Context, args []string, c console) int {
	var names []string
	for _, sub := range cmd.subcommands {
		if len(args) > 0 && args[0] == sub.name {
			sub.name = cmd.name + " " + sub.name
			return sub.start(ctx, args[1:], c)
		}
		names = append(names, sub.name)
	}
	if cmd.run != nil {
		return cmd.run(ctx, args, c)
	}
	if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
		cmd.printSubcommands(c.stdout)
		return exitOK
	}
	// The argument is not repeated: it may be a token.
	fmt.Fprintf(c.stderr, "gatehouse %s: use %s\n\n", cmd.name, strings.Join(names, " or "))
	cmd.printSubcommands(c.stderr)
	return exitConfig
}

func (cmd command) printSubcommands(w io.Writer) {
	fmt.Fprint(w, "Usage:\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, sub := range cmd.subcommands {
		usage := strings.Fields("gatehouse " + cmd.name + " " + sub.name + " " + sub.arguments + " [flags]")
		fmt.Fprintf(t, "  %s\t%s\n", strings.Join(usage, " "), sub.summary)
	}
	t.Flush()
}
