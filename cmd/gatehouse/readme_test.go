package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
)

var update = flag.Bool("update", false, "write anew what documents show of the program")

// Tables in the README are written from the values that the program uses, so they cannot say anything else.
func TestTheTablesOfTheREADMEAreTrue(t *testing.T) {
	checkWritten(t, "README.md", map[string]string{
		"tools": toolsTable(), "kinds": kindsTable(), "settings": settingsTable(), "reasons": reasonsTable(), "presets": presetsTable(),
	})
}

// checkWritten compares what stands between the marks of a document with what should, or writes it.
func checkWritten(t *testing.T, document string, blocks map[string]string) {
	t.Helper()
	path := filepath.Join(root, document)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(raw)
	for name, text := range blocks {
		block := regexp.MustCompile(`(?s)(<!-- begin ` + name + `:[^\n]*-->\n).*?(<!-- end ` + name + ` -->)`)
		if !block.MatchString(want) {
			t.Errorf("%s has no place for %s", document, name)
		}
		want = block.ReplaceAllString(want, "${1}"+strings.ReplaceAll(text, "$", "$$")+"${2}")
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("%s is out of date (`go test ./cmd/gatehouse -update` writes it anew):\n%s", document, diff)
	}
}

func row(cells ...string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func toolsTable() string {
	table := row("tool", "scope of its own", "what it does") + row("---", "---", "---")
	for _, tool := range house.Tools(mcptools.ToolSettings{Demo: true}, mcptools.Vitals{}).Tools {
		scopes := "none"
		if len(tool.Scopes) > 0 {
			scopes = code(strings.Join(tool.Scopes, " "))
		}
		table += row(code(tool.Name), scopes, tool.Description)
	}
	return table
}

func kindsTable() string {
	table := row("`provider.kind`", "what it is") + row("---", "---")
	for _, kind := range configs.Kinds() {
		table += row(code(kind.Name), kind.Summary)
	}
	return table
}

func settingsTable() string {
	table := row("setting", "default", "what it is") + row("---", "---", "---")
	for _, key := range configs.Keys() {
		help := key.Help
		if key.Kind != "" {
			help += fmt.Sprintf(" (kind `%s`)", key.Kind)
		}
		table += row(code(key.Name), code(key.DefaultText()), help)
	}
	return table
}

func presetsTable() string {
	table := row("preset", "set beside it, under `provider`", "registration of clients", "what is proven") + row("---", "---", "---", "---")
	for _, p := range configs.Presets() {
		table += row(fmt.Sprintf("[`%s`](configs/presets/%s.yaml)", p.Name, p.Name), code(strings.Join(p.Beside, "`, `")), p.Registration, p.Proven)
	}
	return table
}

func reasonsTable() string {
	table := row("reason in the log", "what it means") + row("---", "---")
	for _, reason := range providers.Reasons() {
		table += row(fmt.Sprintf("<a id=%q></a>%s", reason.Code, code(string(reason.Code))), reason.Meaning)
	}
	return table
}

// Whoever copies a command from the README gets a server, as far as that can be said without the network.
func TestEveryServerThatTheREADMEStartsHasAGoodConfiguration(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	const program = "go run ./cmd/gatehouse"
	text := strings.ReplaceAll(string(raw), "\\\n", " ")
	started := 0
	for _, line := range regexp.MustCompile(`(?m)^    .*`+program+`.*$`).FindAllString(text, -1) {
		before, after, _ := strings.Cut(line, program)
		args := strings.Fields(after)
		if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			continue // another command
		}
		started++
		t.Run(strings.TrimSpace(after), func(t *testing.T) {
			sources := configs.Sources{Environ: strings.Fields(before), Flags: map[string]string{}}
			for i := 0; i < len(args); i++ {
				name, value, said := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
				if name == "config" {
					i++
					sources.Profile = filepath.Join(root, args[i])
					continue
				}
				if !said {
					value = "true" // a switch
				}
				sources.Flags[name] = value
			}
			if _, err := configs.Load(sources); err != nil {
				t.Error(err)
			}
		})
	}
	if started < 4 {
		t.Errorf("only %d commands were found", started)
	}
}

// Documents that name a test promise that it exists.
func TestTheTestsThatDocumentsNameExist(t *testing.T) {
	exists := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, match := range declared.FindAllStringSubmatch(string(content), -1) {
			exists[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)\\w+)`")
	for _, document := range []string{"README.md", "CONTRIBUTING.md", ".github/SECURITY.md"} {
		content, err := os.ReadFile(filepath.Join(root, document))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(content), -1) {
			if !exists[match[1]] {
				t.Errorf("%s names %s, which does not exist", document, match[1])
			}
		}
	}
}
