package mcptools

// ToolSettings are the section "tools" of the configuration.
type ToolSettings struct {
	Demo    bool `koanf:"demo" help:"offer the demo tools in addition to those of this server"`
	ShowAll bool `koanf:"show_all" help:"list tools that the caller lacks scopes for, too: clients may request them"`
}
