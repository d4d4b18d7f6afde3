// Package demo has the demo tools, which are offered if tools.demo is set. Each shows one feature of a tool: no scope
// of its own, a scope of its own, progress, a question to the user, and statistics of the server.
package demo

import "gatehouse/mcptools"

// Tools returns the demo tools.
func Tools(s mcptools.Stats) []mcptools.Tool {
	return []mcptools.Tool{
		whoami(),
		greet(),
		countdown(),
		sendGreeting(),
		serverStats(s),
	}
}

// Scopes returns the scopes that the demo tools need, without duplicates, whether they are offered or not.
func Scopes() []string { return mcptools.Catalog{Tools: Tools(mcptools.Stats{})}.Scopes() }
