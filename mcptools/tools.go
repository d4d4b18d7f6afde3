package mcptools

// All returns the tools of this server, except the demo tools (package demo, setting tools.demo). To add a tool,
// write its file in this folder and add its line here; the top README shows an example.
func All(Stats) []Tool {
	return []Tool{
		// add(),
	}
}
