package mcptools

// ToolSettings are the section "tools" of the configuration.
type ToolSettings struct {
	Demo    bool `koanf:"demo" help:"offer the demo tools whoami, greet, countdown, send_greeting and server_stats; the tools of this server are always offered"`
	ShowAll bool `koanf:"show_all" help:"list what the caller may not use yet, too: for clients that sign in again for more"`
}
