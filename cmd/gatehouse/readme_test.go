package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers/providertest"
	"gatehouse/providers/providertest/golden"
)

// Generated parts of documents come from the values and files that the program and its tests use.
func TestDocuments_GeneratedPartsAreCurrent(t *testing.T) {
	t.Parallel()
	const programs = "cmd/gatehouse/app/testdata/"
	documents := map[string]map[string]string{
		"README.md": {
			"kinds": kindsTable(),
			"add":   fenced(source(t, "mcptools/example_add_test.go", "", "")),
		},
		"mcptools/README.md": {
			"invoices": fenced(source(t, "mcptools/example_invoices_test.go", "// The model", "\n}\n")),
		},
		"configs/README.md":            {"settings": settingsTable(), "codes": codesTable()},
		"configs/presets/README.md":    {"presets": presetsTable(), "broker presets": brokerPresetsTable()},
		"configs/prometheus/README.md": {"alerts": alertsTable(t)},
		"server/README.md":             {"reasons": reasonsTable()},
		"cmd/gatehouse/app/README.md": {
			"program":  fenced(source(t, programs+"program/main.go", "", "")),
			"provider": fenced(source(t, programs+"provider/main.go", "// load accepts", "\n}\n")),
		},
		"providers/providertest/README.md": {"rules": rulesTable(), "harness": fenced(acmeHarness(t))},
		"cmd/conformance/README.md":        {"versions": versionsTable(t)},
		"providers/authserver/README.md":   {"threats": threatsTable(t)},
	}
	if hasDemoTools() {
		documents["mcptools/README.md"]["tools"] = toolsTable()
	}
	for document, blocks := range documents {
		checkWritten(t, document, blocks)
	}
}

// checkWritten compares the text between the markers of a document with blocks, or writes it.
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
			t.Errorf("%s has no markers for %s", document, name)
		}
		want = block.ReplaceAllString(want, "${1}"+strings.ReplaceAll(text, "$", "$$")+"${2}")
	}
	golden.File(t, path, []byte(want))
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
	for _, tool := range app.DefaultCatalog(mcptools.ToolSettings{Demo: true}, mcptools.Stats{}).Tools {
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
	table := row("setting", "default", "reload", "what it is") + row("---", "---", "---", "---")
	for _, key := range configs.Keys() {
		help := key.Help
		if key.Kind != "" {
			help += fmt.Sprintf(" (kind `%s`)", key.Kind)
		}
		table += row(code(key.Name), code(key.DefaultText()), string(key.Reload), help)
	}
	return table
}

func codesTable() string {
	table := row("code", "meaning") + row("---", "---")
	for _, d := range configs.Codes() {
		table += row(code(string(d.Code)), d.Meaning)
	}
	return table
}

func presetsTable() string {
	table := row("preset", "also set, under `provider`", "registration of clients", "evidence") +
		row("---", "---", "---", "---")
	oidc, _ := configs.KindNamed("oidc")
	for _, p := range oidc.AllPresets() {
		name := fmt.Sprintf("[`%s`](%s.yaml)", p.Name, p.Name)
		table += row(name, code(strings.Join(p.Required, "`, `")), p.Registration, p.Evidence)
	}
	return table
}

func brokerPresetsTable() string {
	table := row("preset", "also set, under `provider`", "evidence") + row("---", "---", "---")
	broker, _ := configs.KindNamed("broker")
	for _, p := range broker.AllPresets() {
		name := fmt.Sprintf("[`%s`](broker/%s.yaml)", p.Name, p.Name)
		table += row(name, code(strings.Join(p.Required, "`, `")), p.Evidence)
	}
	return table
}

func reasonsTable() string {
	table := row("reason in the log", "what it means") + row("---", "---")
	for _, reason := range configs.Reasons() {
		table += row(fmt.Sprintf("<a id=%q></a>%s", reason.Code, code(string(reason.Code))), reason.Meaning)
	}
	return table
}

// versionsTable lists what the scripts of cmd/conformance install.
func versionsTable(t *testing.T) string {
	var installed struct{ Dependencies map[string]string }
	for _, folder := range []string{"", "agents/", "upstreams/"} {
		text := read(t, "cmd/conformance/"+folder+"package.json")
		if err := json.Unmarshal([]byte(text), &installed); err != nil {
			t.Fatal(err)
		}
	}
	table := row("npm package", "version") + row("---", "---")
	for _, name := range slices.Sorted(maps.Keys(installed.Dependencies)) {
		table += row(code(name), installed.Dependencies[name])
	}
	return table
}

func rulesTable() string {
	table := row("rule", "what it demands", "source") + row("---", "---", "---")
	for _, rule := range providertest.Rules() {
		table += row(code(rule.Name), rule.Demand, rule.Source)
	}
	return table
}
