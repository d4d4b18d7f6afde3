package mcphttp

// Methods returns the JSON-RPC methods of MCP, as the OpenTelemetry conventions list them (mcp.method.name), and those
// of MCP 2026-07-28 that this package serves. Everything else that a client may send is unknown.
func Methods() []string {
	return []string{
		methodCallTool, methodComplete, methodGetPrompt, methodInitialize, methodListPrompts, methodListResources,
		methodListTemplates, methodListTools, methodListen, methodRead, methodSetLevel, methodSubscribe,
		methodUnsubscribe, "elicitation/create", "notifications/cancelled", "notifications/initialized",
		"notifications/message", "notifications/progress", "notifications/prompts/list_changed",
		"notifications/resources/list_changed", "notifications/resources/updated",
		"notifications/roots/list_changed", "notifications/tools/list_changed", "ping", "roots/list",
		"sampling/createMessage", "server/discover",
	}
}

// ResourceName returns uri if it is a resource of the catalog, the first template that matches it, or "".
func (h *Handler) ResourceName(uri string) string { return h.scopes.nameOf(uri) }
