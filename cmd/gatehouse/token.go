package main

import "fmt"

func tokenCommands() []command {
	return []command{
		{name: "inspect", summary: "explain what a token contains and why it is accepted or refused", run: tokenInspect},
		{name: "get", summary: "sign in at the configured server and print an access token", run: tokenGet},
	}
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
