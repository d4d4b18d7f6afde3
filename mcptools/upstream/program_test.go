package upstream

import (
	"os"
	"strings"
	"testing"
)

// A program in the current folder is not found by its name alone, even where PATH names that folder.
func TestCheckProgram_CurrentFolder(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	if err := os.WriteFile("tool", []byte("#!/bin/sh\ntouch ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/nonexistent": `there is no program "tool" in PATH; to run the file in the current folder, write ./tool`,
		".":            `"tool" is in the current folder, which PATH names; to run it, write ./tool`,
		"/bin:":        `"tool" is in the current folder, which PATH names; to run it, write ./tool`,
		folder:         "",
	} {
		t.Setenv("PATH", path)
		got := ""
		if err := CheckProgram("tool"); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("PATH=%s: %s", path, got)
		}
		if path == folder {
			continue
		}
		s := DefaultSettings("far")
		s.Command = Command{"tool"}
		if _, err := tryOpen(t, Options{}, s); err == nil || exists("ran") {
			t.Errorf("PATH=%s: it ran, %v", path, err)
		}
	}
	if err := CheckProgram("./tool"); err != nil {
		t.Error(err)
	}
}

// What a launcher downloads is of one version, or named.
func TestCommand_Unpinned(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"npx some-server":                                   "some-server",
		"npx -y some-server /srv":                           "some-server",
		"npx -y @scope/some-server":                         "@scope/some-server",
		"npx -y @scope/some-server@latest":                  "@scope/some-server@latest",
		"npx -y some-server@^1.2.0":                         "some-server@^1.2.0",
		"npx -y some-server@1":                              "some-server@1",
		"npx -y some-server@1.2.3":                          "",
		"npx -y @scope/some-server@2026.8.31 /srv":          "",
		"npx -y some-server@1.2.3-beta.1":                   "",
		"npx --registry https://npm.example some-server":    "some-server",
		"npx -p some-server@1.2.3 -- server --flag":         "",
		"npx --package=some-server server":                  "some-server",
		"/usr/local/bin/npx -y some-server":                 "some-server",
		"npx.cmd -y some-server":                            "some-server",
		"npx ./server":                                      "",
		"npx github:owner/repository":                       "github:owner/repository",
		"npx github:owner/repo#" + strings.Repeat("0a", 20): "",
		"npm exec -- some-server":                           "some-server",
		"npm x some-server@1.0.0":                           "",
		"npm start":                                         "",
		"pnpm dlx some-server":                              "some-server",
		"bunx some-server@1.2.3":                            "",
		"uvx some-server":                                   "some-server",
		"uvx some-server@1.2.3":                             "",
		"uvx some-server==1.2":                              "",
		"uvx --python 3.12 some-server":                     "some-server",
		"uvx --from some-server==1.2.3 serve":               "",
		"uvx --from some-server serve":                      "some-server",
		"uv tool run some-server":                           "some-server",
		"pipx run --spec some-server==1.2.3 serve":          "",
		"python -m some_server":                             "",
		"node server.js":                                    "",
		"mcp-server-memory":                                 "",
		"npx":                                               "",
		"npx -p":                                            "",
	} {
		if got := Command(strings.Fields(command)).Unpinned(); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if got := (Command)(nil).Unpinned(); got != "" {
		t.Errorf("no command: %q", got)
	}
}
