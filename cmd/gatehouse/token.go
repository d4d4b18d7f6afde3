package main

import (
	"context"
	"fmt"
	"strings"
)

// tokens has two commands of its own.
func tokens(ctx context.Context, args []string, c console) int {
	subcommands := []command{
		{"inspect", "say what a token is and why it is accepted or refused", tokenInspect},
		{"get", "sign in at the configured server and print an access token", tokenGet},
	}
	if len(args) > 0 {
		for _, sub := range subcommands {
			if sub.name == args[0] {
				return sub.run(ctx, args[1:], c)
			}
		}
	}
	asked := len(args) > 0 && (args[0] == "--help" || args[0] == "-h")
	w, code := c.stderr, exitConfig
	if asked {
		w, code = c.stdout, exitOK
	} else {
		// What was typed is not repeated: it may be a token.
		fmt.Fprint(w, "gatehouse token: say inspect or get\n\n")
	}
	fmt.Fprint(w, "Usage:\n")
	for _, sub := range subcommands {
		fmt.Fprintf(w, "  gatehouse token %-16s %s\n", sub.name+" [flags]", sub.summary)
	}
	return code
}

// tokenArguments refuses what stands on the command line beside flags without repeating it: every user of the computer can
// read a command line, and the most likely thing to stand there is a token.
func tokenArguments(name string, rest []string, c console) bool {
	if len(rest) == 0 {
		return true
	}
	fmt.Fprintf(c.stderr, "gatehouse %s: nothing may stand behind the flags, least of all a token, which others could read there; hand it in on standard input or with --token-file\n", name)
	return false
}

// bare takes away what people copy along with a token.
func bare(text string) string {
	text = strings.TrimSpace(text)
	if rest, ok := cutPrefixFold(text, "authorization:"); ok {
		text = strings.TrimSpace(rest)
	}
	if rest, ok := cutPrefixFold(text, "bearer "); ok {
		text = strings.TrimSpace(rest)
	}
	return strings.Trim(text, `"'`)
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
