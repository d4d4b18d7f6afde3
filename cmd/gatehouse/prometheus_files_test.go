package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"

	"gatehouse/configs"
	"gatehouse/providers"
)

// alert is a rule of configs/prometheus/rules.yml.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yamlv3.Unmarshal([]byte(read(t, "configs/prometheus/rules.yml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 10 {
		t.Fatalf("rules.yml has %d groups, or few rules", len(file.Groups))
	}
	return file.Groups[0].Rules
}

// panel is a panel of configs/prometheus/grafana.json.
type panel struct {
	ID          int
	Title, Type string
	Datasource  struct{ Type, UID string }
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		RefID, Expr, LegendFormat string
		Datasource                struct{ Type, UID string }
	}
}

// expr returns an expression of the panel as Grafana sends it, with these values for the variables.
func (p panel) expr(i int) string {
	return strings.NewReplacer("$job", ".+", "$instance", ".+", "$__rate_interval", "1m", "$__range", "1h").
		Replace(p.Targets[i].Expr)
}

func readDashboard(t *testing.T) []panel {
	t.Helper()
	var file struct {
		Templating struct {
			List []struct {
				Name, Type string
				Datasource struct{ UID string }
			}
		}
		Panels []panel
	}
	if err := json.Unmarshal([]byte(read(t, "configs/prometheus/grafana.json")), &file); err != nil {
		t.Fatal(err)
	}
	var variables []string
	for _, v := range file.Templating.List {
		variables = append(variables, v.Name+" "+v.Type+" "+v.Datasource.UID)
	}
	want := []string{"datasource datasource ", "job query ${datasource}", "instance query ${datasource}"}
	if !slices.Equal(variables, want) {
		t.Errorf("the variables of the dashboard are %q, want %q", variables, want)
	}
	return file.Panels
}

func alertsTable(t *testing.T) string {
	table := row("alert", "severity", "after", "what it means, and what to do") + row("---", "---", "---", "---")
	for _, a := range readAlerts(t) {
		table += row(code(a.Alert), a.Labels["severity"], a.For, a.Annotations["description"])
	}
	return table
}

func TestPrometheus_AlertsAreComplete(t *testing.T) {
	t.Parallel()
	var tests struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yamlv3.Unmarshal([]byte(read(t, "configs/prometheus/rules_test.yml")), &tests); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, group := range tests.Tests {
		for _, c := range group.AlertRuleTest {
			if len(c.ExpAlerts) > 0 {
				fires[c.Alertname] = true
			} else {
				quiet[c.Alertname] = true
			}
		}
	}
	names := map[string]bool{}
	for _, a := range readAlerts(t) {
		if names[a.Alert] {
			t.Errorf("%s occurs twice", a.Alert)
		}
		names[a.Alert] = true
		if !fires[a.Alert] || !quiet[a.Alert] {
			t.Errorf("rules_test.yml lacks a firing or a quiet case for %s", a.Alert)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) || len(a.Labels) != 1 {
			t.Errorf("%s has the labels %v", a.Alert, a.Labels)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s has the annotations %v", a.Alert, a.Annotations)
		}
	}
	// promtool finds no alert of that name, and takes that as quiet.
	for name := range quiet {
		if !names[name] {
			t.Errorf("rules_test.yml tests %s, which does not exist", name)
		}
	}
}

// A misspelled setting, command or document in the text of an alert leads the operator nowhere.
func TestPrometheus_AlertsNameWhatExists(t *testing.T) {
	t.Parallel()
	var (
		setting  = regexp.MustCompile(`\b(?:audit|mcp|operator|provider|denials|reload)\.\w+`)
		reason   = regexp.MustCompile(`\b\w+_(?:unavailable|error)\b`)
		document = regexp.MustCompile(`\b[\w/]+\.md\b`)
	)
	settings := settingNames()
	for _, a := range readAlerts(t) {
		text := a.Annotations["description"]
		for _, name := range setting.FindAllString(text, -1) {
			if !slices.Contains(settings, name) {
				t.Errorf("%s names the setting %s, which does not exist", a.Alert, name)
			}
		}
		for _, name := range reason.FindAllString(text, -1) {
			if !isOutcome(name) {
				t.Errorf("%s names the reason %s, which does not exist", a.Alert, name)
			}
		}
		for _, name := range document.FindAllString(text, -1) {
			exists(t, name)
		}
	}
}

// isOutcome reports whether name is a value of the label gatehouse_outcome.
func isOutcome(name string) bool {
	return slices.Contains([]string{"ok", "client_error", "server_error"}, name) ||
		slices.ContainsFunc(configs.Reasons(), func(d providers.ReasonDoc) bool { return string(d.Code) == name })
}

// A reason that was renamed would leave an alert that can never fire.
func TestPrometheus_ExpressionsNameReasonsThatExist(t *testing.T) {
	t.Parallel()
	seen := 0
	for where, text := range promqlExpressions(t) {
		for _, s := range parsePromQL(text).selectors {
			for _, m := range s.matchers {
				if m.label != "gatehouse_outcome" && m.label != "gatehouse_reason" || m.value == "" {
					continue
				}
				for _, name := range strings.Split(m.value, "|") {
					if seen++; name != "" && !isOutcome(name) {
						t.Errorf("%s names the reason %s, which does not exist", where, name)
					}
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d reasons were found", seen)
	}
}

// promqlExpressions returns every expression of the alerts and of the dashboard, by where it is.
func promqlExpressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, a := range readAlerts(t) {
		all["alert "+a.Alert] = a.Expr
	}
	for _, p := range readDashboard(t) {
		for i, target := range p.Targets {
			all[fmt.Sprintf("panel %q, %s", p.Title, target.RefID)] = p.expr(i)
		}
	}
	return all
}

func TestPrometheus_DashboardIsInOrder(t *testing.T) {
	t.Parallel()
	type cell struct{ x, y int }
	ids, taken := map[int]bool{}, map[cell]string{}
	for _, p := range readDashboard(t) {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d: %+v", p.ID, p)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || p.Datasource.UID != "${datasource}" || target.LegendFormat == "" {
				t.Errorf("panel %q, %s: it is not of the chosen data source, or has no legend", p.Title, target.RefID)
			}
			if strings.Count(target.Expr, `job=~"$job", instance=~"$instance"`) < 1 {
				t.Errorf("panel %q, %s does not use the variables", p.Title, target.RefID)
			}
		}
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q is at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[cell{x, y}]; other != "" {
					t.Fatalf("panel %q covers %q", p.Title, other)
				}
				taken[cell{x, y}] = p.Title
			}
		}
	}
}
