package doctor_test

import (
	"net/http"
	"os"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools/upstream"
)

// commandFaults are faults of an upstream on stdio.
func commandFaults() map[string]fault {
	set := func(key, value string) func(*testing.T, *env) {
		return do(func(e *env) { e.settings[key] = value })
	}
	return map[string]fault{
		"a program that is gone": {
			before: useNotes(),
			after: func(t *testing.T, e *env) {
				if err := os.Remove(e.config.Settings.Upstreams[0].Command[0]); err != nil {
					t.Fatal(err)
				}
			},
			bad: []string{"upstream.notes.command failed"}, found: "cannot be run", fix: "upstreams.notes.command",
		},
		"a package without a version": {
			before: useNotes("npx", "-y", "notes-server"),
			bad:    []string{"upstream.notes.command warning"},
			found:  `"notes-server" is whatever version is the newest`, fix: "add a version",
		},
		"a secret in a variable": {
			before: all(useNotes(), do(func(e *env) { e.settings["upstreams.notes.env"] += ",API_TOKEN=canary" })),
			bad:    []string{"upstream.notes.env warning"}, found: "the variable API_TOKEN looks like a secret",
			fix: "upstreams.notes.env_file",
		},
		"a secret in an argument": {
			before: useNotes("--verbose", "--token", "canary"),
			bad:    []string{"upstream.notes.env warning"}, found: "argument 3", fix: "upstreams.notes.env_file",
		},
		"a process that ends at once": {
			before: useNotes(), after: setMode("broken"),
			bad: []string{"upstream.notes.start failed"}, found: "exit status 3", fix: "gatehouse upstream list",
		},
		"a pattern that matches nothing": {
			before: all(useNotes(), set(notesTools, "read_* write_note > notes:read,delete_* > notes:admin")),
			bad:    []string{"upstream.notes.tools warning"},
			found:  `line 2 matches nothing; "delete_*" is the first match of no tool`, fix: "upstreams.notes.tools",
		},
		"a tool that no line names": {
			before: all(useNotes(), set(notesTools, "read_* > notes:read")),
			bad:    []string{"upstream.notes.tools warning"}, found: `no line names "write_note"`, fix: "add it",
		},
		"a name that is too long": {
			before: all(useNotes(), setMode("long")),
			bad:    []string{"upstream.notes.names warning"}, found: "more than 64 characters", fix: "upstreams.notes.prefix",
		},
		"a name that this server has": {
			before: useNotes(),
			after:  do(func(e *env) { e.config.OwnTools = append(e.config.OwnTools, "notes_read_note") }),
			bad:    []string{"upstream.notes.names failed"}, found: "notes_read_note (of this server)",
			fix: "upstreams.notes.prefix",
		},
		"a definition that changed": {
			before: all(useNotes(), pinNotes("read_note", "write_note")), after: setMode("changed"),
			bad: []string{"upstream.notes.pins failed"}, found: `changed: "write_note"`,
			fix: "gatehouse upstream pin notes --check",
		},
		"a tool that is gone": {
			before: all(useNotes(), setMode("more"), pinNotes("read_note", "read_more", "write_note")),
			after:  setMode(""),
			bad:    []string{"upstream.notes.pins failed"}, found: `gone: "read_more"`,
			fix: "gatehouse upstream pin notes --check",
		},
		"a tool that is not pinned": {
			before: all(useNotes(), pinNotes("read_note")),
			bad:    []string{"upstream.notes.pins warning"}, found: `not pinned: "write_note"`,
			fix: "gatehouse upstream pin notes --check",
		},
	}
}

// urlFaults are faults of an upstream by HTTP.
func urlFaults() map[string]fault {
	useJWT := do(func(e *env) { e.settings["upstreams.web.identity"] = "jwt" })
	answer := func(status int) func(*testing.T, *env) {
		return do(func(e *env) { e.web.intercept = respond("", status, "text/html", "canary") })
	}
	return map[string]fault{
		"an upstream that does not run": {
			before: useWeb(""), after: func(_ *testing.T, e *env) { e.web.Close() },
			bad: []string{"upstream.web.url failed"}, found: "refused", fix: "upstreams.web.url",
		},
		"an upstream that redirects": {
			before: useWeb(""),
			after: do(func(e *env) {
				e.web.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
					w.Header().Set("Location", "/mcp/")
					w.WriteHeader(http.StatusTemporaryRedirect)
					return true
				}
			}),
			bad: []string{"upstream.web.url failed"}, found: `307, a redirect to "/mcp/"`, fix: "set upstreams.web.url",
		},
		"another program at the URL": {
			before: useWeb(""), after: answer(404),
			bad: []string{"upstream.web.start failed"}, found: "404", fix: "is the MCP endpoint",
		},
		"a credential that is refused": {
			before: useWeb("canary-credential"), after: answer(401),
			bad: []string{"upstream.web.start failed"}, found: "401", fix: "upstreams.web.authorization_file",
		},
		"a token that is refused": {
			before: all(useWeb(""), useJWT), after: answer(401),
			bad: []string{"upstream.web.start failed"}, found: "401", fix: "this command has another key than the server",
		},
		"an upstream that lacks the keys of this server": {
			before: all(useWeb(""), useJWT), after: answer(503),
			bad: []string{"upstream.web.start failed"}, found: "503", fix: "/.well-known/jwks.json",
		},
		"a credential for everybody": {
			before: all(useWeb("canary-credential"), do(func(e *env) {
				e.settings["upstreams.web.tools"] = "read_* > notes:read,* > mcp:use"
			})),
			bad: []string{"upstream.web.identity warning"}, found: "the tools of line 2 of upstreams.web.tools",
			fix: "scopes of their own",
		},
		"tokens of callers in a session of this server": {
			before: all(useWeb(""), useJWT, do(func(e *env) {
				notes := notesServer("")
				e.web.next = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return notes },
					&mcp.StreamableHTTPOptions{JSONResponse: true})
				e.t.Cleanup(func() {
					for session := range notes.Sessions() {
						_ = session.Close()
					}
				})
			})),
			bad: []string{"upstream.web.identity warning"}, found: "its session belongs to this server", fix: "upstream_refused",
		},
		"keys that a proxy does not forward": {
			before: all(useWeb(""), useJWT),
			after: do(func(e *env) {
				e.proxy.intercept = respond("/.well-known/jwks.json", 404, "text/plain", "canary")
			}),
			bad: []string{"upstream.web.keys failed"}, found: "/.well-known/jwks.json: 404", fix: "a proxy in front",
		},
		"a key file that was replaced": {
			before: all(useWeb(""), useJWT),
			after: func(t *testing.T, e *env) {
				minter, err := upstream.NewMinter(e.settings["resource"], nil)
				if err != nil {
					t.Fatal(err)
				}
				e.config.Upstreams.Minter, e.config.Settings.UpstreamKey.KeyFile = minter, "canary"
			},
			bad: []string{"upstream.web.keys failed"}, found: "other keys than that in upstreams.key_file",
			fix: "restart the server",
		},
	}
}
