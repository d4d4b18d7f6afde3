package main

import (
	"context"
	"fmt"
)

// tokenCommand runs one of its subcommands.
func tokenCommand(ctx context.Context, args []string, c console) int {
	subcommands := []command{
		{"inspect", "explain what a token contains and why it is accepted or refused", tokenInspect},
		{"get", "sign in at the configured server and print an access token", tokenGet},
	}
	if len(args) > 0 {
		for _, sub := range subcommands {
			if sub.name == args[0] {
				return sub.run(ctx, args[1:], c)
			}
		}
	}
	w, code := c.stderr, exitConfig
	if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
		w, code = c.stdout, exitOK
	} else {
		// The argument is not repeated: it may be a token.
		fmt.Fprint(w, "gatehouse token: use inspect or get\n\n")
	}
	fmt.Fprint(w, "Usage:\n")
	for _, sub := range subcommands {
		fmt.Fprintf(w, "  gatehouse token %-16s %s\n", sub.name+" [flags]", sub.summary)
	}
	return code
}

// refuseArguments reports arguments that are not flags, without repeating them: they are probably a token, and every
// user of the computer can read a command line.
func refuseArguments(name string, arguments []string, c console) (refused bool) {
	if len(arguments) == 0 {
		return false
	}
	fmt.Fprintf(c.stderr, "gatehouse %s: takes no arguments, least of all a token, which other users could read; "+
		"pass it on standard input or with --token-file\n", name)
	return true
}
