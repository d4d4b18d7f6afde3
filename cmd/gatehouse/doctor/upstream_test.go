package doctor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools/upstream"
	"gatehouse/providers/diagnostics"
)

// upstreamMode is the variable that turns this test binary into an upstream on stdio. Its value is a file with the
// mode.
const upstreamMode = "GATEHOUSE_TEST_UPSTREAM"

func serveUpstream(modeFile string) {
	mode, _ := os.ReadFile(modeFile)
	if string(mode) == "broken" {
		fmt.Fprintln(os.Stderr, "canary")
		os.Exit(3)
	}
	_ = notesServer(string(mode)).Run(context.Background(), &mcp.StdioTransport{})
}

// notesServer has the tools read_note and write_note, which is another one as "changed". As "more" it has read_more,
// and as "long" a tool with a name that is too long.
func notesServer(mode string) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1.2.3"}, nil)
	description := "Writes a note."
	if mode == "changed" {
		description = "canary"
	}
	tools := map[string]string{"read_note": "Reads a note.", "write_note": description}
	switch mode {
	case "more":
		tools["read_more"] = "Is not always there."
	case "long":
		tools["read_"+strings.Repeat("x", 60)] = "Has a long name."
	}
	for name, description := range tools {
		tool := &mcp.Tool{Name: name, Description: description, InputSchema: map[string]any{"type": "object"}}
		server.AddTool(tool, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{}, nil
		})
	}
	return server
}

// Each fault of an upstream changes one of these.
const (
	notesProgram = "upstreams.notes.command"
	notesTools   = "upstreams.notes.tools"
)

// useNotes adds an upstream on stdio. Its program is a link with that name, with arguments.
func useNotes(arguments ...string) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		command := append([]string{"notes-server"}, arguments...)
		if len(arguments) > 0 && strings.HasPrefix(arguments[0], "npx") {
			command = slices.Clone(arguments)
		}
		command[0] = filepath.Join(t.TempDir(), command[0])
		if err := os.Symlink(self, command[0]); err != nil {
			t.Skip(err)
		}
		text, _ := json.Marshal(command)
		e.settings[notesProgram] = string(text)
		e.settings["upstreams.notes.env"] = upstreamMode + "=" + filepath.Join(filepath.Dir(command[0]), "mode")
		e.settings[notesTools] = "read_* > notes:read,write_note > notes:write"
	}
}

// setMode changes how the upstream on stdio behaves at its next start.
func setMode(mode string) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		_, file, _ := strings.Cut(e.settings["upstreams.notes.env"], "=")
		if err := os.WriteFile(file, []byte(mode), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// pinNotes pins some tools of the upstream on stdio.
func pinNotes(tools ...string) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		e.settings["provider.issuer"] = e.provider.URL
		options := upstream.Options{Logger: slog.New(slog.DiscardHandler)}
		found, err := upstream.Look(t.Context(), e.load().Upstreams[0], options)
		if err != nil {
			t.Fatal(err)
		}
		var definitions []json.RawMessage
		for _, d := range found.Definitions {
			if slices.Contains(tools, d.Name) {
				definitions = append(definitions, d.JSON)
			}
		}
		pins, err := upstream.NewPins("notes", definitions)
		if err != nil {
			t.Fatal(err)
		}
		content, err := pins.Format()
		if err != nil {
			t.Fatal(err)
		}
		e.settings["upstreams.notes.pins"] = filepath.Join(t.TempDir(), "pins.json")
		if err := os.WriteFile(e.settings["upstreams.notes.pins"], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// useWeb adds an upstream by HTTP. With a credential, this server sends it.
func useWeb(credential string) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		e.web = newFaultProxy(t, nil)
		notes := notesServer("")
		e.web.next = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return notes },
			&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true})
		e.settings["upstreams.web.url"] = e.web.URL + "/mcp"
		e.settings["upstreams.web.tools"] = "* > notes:read"
		if credential != "" {
			e.environ = append(e.environ, "GATEHOUSE_UPSTREAMS__WEB__AUTHORIZATION="+credential)
		}
	}
}

// all applies changes in their order.
func all(changes ...func(*testing.T, *env)) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		for _, change := range changes {
			change(t, e)
		}
	}
}

// withoutName returns the name of a check without that of the upstream.
func withoutName(check string) string {
	if parts := strings.Split(check, "."); parts[0] == "upstream" {
		return parts[0] + "." + parts[2]
	}
	return check
}

func TestHealthyUpstreamsHaveNoProblem(t *testing.T) {
	e := newEnv(t)
	all(useNotes(), pinNotes("read_note", "write_note"), useWeb("canary-credential"))(t, e)
	e.settings["upstreams.web.identity"] = "jwt"
	results := e.open().examine()
	if got := problems(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	e.showsNoCanary(results)
	seen := 0
	for _, r := range results {
		if !strings.HasPrefix(r.Name, "upstream.") {
			continue
		}
		if seen++; r.Verdict != diagnostics.VerdictOK || r.Expected == "" || r.Found == "" {
			t.Errorf("%+v", r)
		}
	}
	if seen != 7+6 {
		t.Errorf("there are %d checks:\n%s", seen, text(results))
	}
	for name, want := range map[string]string{
		"upstream.notes.start": `"notes 1.2.3", MCP 2026-07-28, ready after `,
		"upstream.notes.tools": `2 tools, 2 offered; line 1 matches "read_note"; line 2 matches "write_note"`,
		"upstream.web.url":     "at 127.0.0.1",
		"upstream.web.keys":    e.proxy.URL + "/.well-known/jwks.json",
	} {
		if r := find(results, name); !strings.HasPrefix(r.Found, want) {
			t.Errorf("%s: %q, want %q", name, r.Found, want)
		}
	}
}
