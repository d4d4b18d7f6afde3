package doctor_test

import (
	"os"
	"path/filepath"
	"testing"
)

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
		"a list of denials that became bad": {
			before: denyWith("[]"),
			after:  rewriteDenials("- reason: canary-reason\n- {}\n", 0o600),
			bad:    []string{"config.denials failed"},
			found:  "line 1: the entry denies nothing: it has no subject, client or token (and 1 more)", fix: "add one of them",
		},
		"a list of denials that is gone": {
			before: denyWith("[]"),
			after: func(t *testing.T, e *env) {
				if err := os.Remove(e.settings["denials.file"]); err != nil {
					t.Fatal(err)
				}
			},
			bad: []string{"config.denials failed"}, found: "there is no such file", fix: "an empty list is the line []",
		},
		"a list of denials that others can change": {
			before: denyWith("[]"), after: rewriteDenials("[]", 0o666),
			bad: []string{"config.denials warning"}, found: "mode 0666", fix: "chmod go-w",
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

// denyWith gives the server a list of denials.
func denyWith(entries string) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		e.settings["denials.file"] = filepath.Join(t.TempDir(), "denied.yaml")
		rewriteDenials(entries, 0o600)(t, e)
	}
}

// rewriteDenials changes the list.
func rewriteDenials(entries string, mode os.FileMode) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		file := e.settings["denials.file"]
		if err := os.WriteFile(file, []byte(entries), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil { // the umask of the test does not matter
			t.Fatal(err)
		}
	}
}
