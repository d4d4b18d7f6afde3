package mcptools

// ToolSettings are the section "tools" of the configuration.
type ToolSettings struct {
	Demo    bool `koanf:"demo" reload:"restart" help:"offer the demo tools in addition to those of this server"`
	ShowAll bool `koanf:"show_all" reload:"live" loosens:"on" help:"list tools that the caller lacks scopes for, too: clients may request them"`
}
