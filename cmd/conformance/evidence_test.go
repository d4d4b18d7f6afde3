package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	loop      = regexp.MustCompile(`^for (\w+) in (.+); do$`)
	step      = regexp.MustCompile(`^(?:check \d+|try) "([^"]+)"`)
	evidence  = regexp.MustCompile(`(?s)<!-- begin (clients|provider|agents|upstreams|broker):[^\n]*-->\n(.*?)<!-- end`)
	heading   = regexp.MustCompile(`^\| step, on (\d{4}-\d\d-\d\d), lock file ([0-9a-f]{12}) \| result \|$`)
	resultRow = regexp.MustCompile(`^\| (.+) \| (.+) \|$`)
)

// steps returns the names of the steps of a script, in their order, with its loops expanded.
func steps(t *testing.T, script string) []string {
	t.Helper()
	var names []string
	variable, values := "", []string(nil)
	for line := range strings.Lines(read(t, script)) {
		line = strings.TrimSpace(line)
		if m := loop.FindStringSubmatch(line); m != nil {
			variable, values = m[1], strings.Fields(m[2])
		}
		if line == "done" {
			variable, values = "", nil
		}
		m := step.FindStringSubmatch(line)
		switch {
		case m == nil || m[1] == "$name": // the latter is the body of try
		case values == nil:
			names = append(names, m[1])
		default:
			for _, value := range values {
				names = append(names, strings.ReplaceAll(m[1], "$"+variable, value))
			}
		}
	}
	return names
}

// The results in README.md are those of the scripts: each step is there, none failed, and they were measured
// with the versions of the lock file. After a change of a version or a step, run the script with --update.
func TestResultsInTheREADMEAreCurrent(t *testing.T) {
	scripts := map[string]string{
		"clients": "run.sh", "provider": "provider.sh", "agents": "agents.sh", "upstreams": "upstreams.sh",
		"broker": "broker.sh",
	}
	locks := map[string]string{"agents": "agents/package-lock.json", "upstreams": "upstreams/package-lock.json"}
	failures := regexp.MustCompile(`[1-9]\d* failed|FAIL`)
	for _, block := range evidence.FindAllStringSubmatch(read(t, "README.md"), -1) {
		script := scripts[block[1]]
		sum := sha256.Sum256([]byte(read(t, cmp.Or(locks[block[1]], "package-lock.json"))))
		lock := hex.EncodeToString(sum[:])[:12]
		delete(scripts, block[1])
		want := steps(t, script)
		if len(want) < 5 {
			t.Fatalf("%s has the steps %v", script, want)
		}
		if block[1] == "clients" {
			want = append(want, "expected failures")
		}
		lines := strings.Split(strings.TrimSpace(block[2]), "\n")
		if m := heading.FindStringSubmatch(lines[0]); m == nil || m[2] != lock {
			t.Errorf("%s: the heading is %q, the lock file %s: run cmd/conformance/%s --update", block[1], lines[0],
				lock, script)
		}
		var got []string
		for _, line := range lines[2:] {
			m := resultRow.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%s: %q is not a row", block[1], line)
			}
			got = append(got, m[1])
			if failures.MatchString(m[2]) {
				t.Errorf("%s: %q has a failure", block[1], line)
			}
			if m[1] == "expected failures" && m[2] != expectedFailures(t) {
				t.Errorf("there are %s, not %s expected failures", expectedFailures(t), m[2])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the rows are %q, the steps of %s %q", block[1], got, script, want)
		}
	}
	if len(scripts) > 0 {
		t.Errorf("README.md has no block for %v", scripts)
	}
}

// expectedFailures returns the number of entries of expected-failures.yml, which need not exist.
func expectedFailures(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("expected-failures.yml")
	if os.IsNotExist(err) {
		return "0"
	}
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(len(regexp.MustCompile(`(?m)^ *- `).FindAll(raw, -1)))
}

// The table of clients describes the versions that are tested.
func TestClientsInTheREADMEHaveTheTestedVersions(t *testing.T) {
	var installed struct{ Dependencies map[string]string }
	for _, file := range []string{"package.json", "agents/package.json"} {
		if err := json.Unmarshal([]byte(read(t, file)), &installed); err != nil {
			t.Fatal(err)
		}
	}
	_, table, _ := strings.Cut(read(t, "README.md"), "\n## Clients\n")
	for client, version := range map[string]string{
		"MCP Inspector CLI": installed.Dependencies["@modelcontextprotocol/inspector"],
		"TypeScript SDK":    installed.Dependencies["@modelcontextprotocol/sdk"],
		"TypeScript client": installed.Dependencies["@modelcontextprotocol/client"],
		"mcp-remote":        installed.Dependencies["mcp-remote"],
		"Claude Code":       installed.Dependencies["@anthropic-ai/claude-code"],
		"Codex":             installed.Dependencies["@openai/codex"],
		"go-sdk":            required(t, "../../go.mod", "github.com/modelcontextprotocol/go-sdk"),
		"mcp-go":            required(t, "mcpgo/go.mod", "github.com/mark3labs/mcp-go"),
	} {
		if !strings.Contains(table, "\n| "+client+" "+version+" | ") {
			t.Errorf("the table of clients has no row %s %s", client, version)
		}
	}
}

// required returns the version of a module that file requires, without its "v".
func required(t *testing.T, file, module string) string {
	t.Helper()
	m := regexp.MustCompile(regexp.QuoteMeta(module) + ` v(\S+)`).FindStringSubmatch(read(t, file))
	if m == nil {
		t.Fatalf("%s does not require %s", file, module)
	}
	return m[1]
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
