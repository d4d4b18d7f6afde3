package mcptools

// All is every tool of this server. To add one, write its file and add its line.
func All(v Vitals) []Tool {
	return []Tool{
		whoami(),
		greet(),
		countdown(),
		sendGreeting(),
		serverStats(v),
	}
}
