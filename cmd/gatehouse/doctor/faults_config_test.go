package doctor_test

// configFaults are faults in the configuration.
func configFaults() map[string]fault {
	return map[string]fault{
		"a port that the listener does not have": {
			before: do(func(e *env) { e.settings["server.listen"] = "127.0.0.1:1" }),
			bad:    []string{"config.note warning"}, found: "clients dial port", fix: "none if this is intended",
		},
		"https at a port that Claude Desktop does not dial": {
			before: do(func(e *env) { e.useTLS() }),
			bad:    []string{"config.port warning"}, found: "Claude Desktop", fix: "443",
		},

		"tokens of any type": {
			before: do(func(e *env) { e.settings["provider.token_types"] = "at+jwt,JWT" }),
			bad:    []string{"provider.token_types warning"}, found: "(at+jwt, jwt)", fix: "provider.required_claims",
		},
		"scopes of Entra under another name than the resource": {
			before: do(func(e *env) {
				e.settings["provider.preset"], e.settings["provider.audiences"] = "entra", "b19"
				e.settings["provider.scope_map"] = "api://b19/use=mcp:use,use=mcp:use,read=notes:read"
			}),
			// The stand-in for Entra has neither of them in its metadata.
			bad:   []string{"provider.scope_resource warning", "provider.scopes warning"},
			found: "clients request api://b19/use read, and send the resource http://127.0.0.1:", fix: "Application ID URI",
		},
		"default scopes that lack those of a tool": {
			before: do(func(e *env) { e.settings["provider.default_scopes"] = "mcp:use,notes:read" }),
			bad:    []string{"config.default_scopes warning"}, found: `lacks "notes:write notes:admin"`,
			fix: "provider.default_scopes",
		},
		"default scopes that lack a required scope": {
			before: do(func(e *env) { e.settings["provider.default_scopes"] = "notes:read" }),
			bad:    []string{"config.default_scopes warning"}, found: `lacks "mcp:use" of scopes.required`,
			fix: "provider.default_scopes",
		},
	}
}
