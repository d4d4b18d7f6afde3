// Package demo contains the demo tools, which the server offers only if tools.demo is set. Each shows one feature of a
// tool: no scope of its own, a scope of its own, progress, a question to the person, and statistics of the server.
package demo

import "gatehouse/mcptools"

// Tools returns the demo tools.
func Tools(v mcptools.Stats) []mcptools.Tool {
	return []mcptools.Tool{
		whoami(),
		greet(),
		countdown(),
		sendGreeting(),
		serverStats(v),
	}
}

// Scopes returns the scopes that the demo tools need, each once, whether the tools are offered or not.
func Scopes() []string { return mcptools.Catalog{Tools: Tools(mcptools.Stats{})}.Scopes() }
