package main

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"gatehouse/server"
)

// The metrics that Prometheus reads are valid, and those of this program are in the README.
func TestTelemetry_ScrapeIsValidAndDocumented(t *testing.T) {
	t.Parallel()
	folder := newAuditFolder(t)
	settings := withFixture(t, map[string]string{"mcp.max_sessions": "1"}, "notes", "ops", "tools=*",
		"processes=per_user", "max_processes=7", "call_timeout=1s")
	srv := startServer(t, settings, usePrometheus, folder.use, newDenyFile(t, "[]").use, useSignIns("caller_denied"))
	token, other := srv.token(t, "alice", "mcp:use", "greet:read"), srv.token(t, "bob", "mcp:use")
	for _, c := range operationCases() {
		c.send(t, srv, token)
	}
	callUpstream(t, srv, token)
	session := srv.openSession(t, token)
	if r := (request{body: initializeBody}).send(t, srv, other); r.status != http.StatusServiceUnavailable {
		t.Errorf("a session beyond the limit: %d", r.status)
	}
	modernRequest("tools/list", "").send(t, srv, "")
	request{method: http.MethodDelete}.with("Mcp-Session-Id", session).send(t, srv, token)
	text := scrape(t, srv.metrics)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for name, family := range families {
		if family.GetHelp() == "" {
			t.Errorf("%s has no description", name)
		}
	}
	for name, want := range map[string]float64{
		"gatehouse_ready": 1, "gatehouse_config_info": 1, "gatehouse_config_generation": 1, "gatehouse_config_reload_ok": 1,
		"gatehouse_build_info": 1, "gatehouse_provider_keys_usable": 1, "gatehouse_sessions_active": 0,
		"gatehouse_sessions_limit": 1, "gatehouse_calls_active": 0, "gatehouse_calls_limit": 1000,
		"gatehouse_streams_limit": 1000, "gatehouse_bytes_active": 0, "gatehouse_audit_ok": 1,
		"gatehouse_audit_lost_total": 0, "gatehouse_upstream_up": 1, "gatehouse_upstream_restarts_total": 1,
		"gatehouse_upstream_noise_total": 0, "gatehouse_upstream_tools_changed": 0,
		"gatehouse_upstream_processes_active": 0, "gatehouse_upstream_processes_limit": 7,
		"gatehouse_signins_store_ok": 1, "gatehouse_signins_provider_ok": 0,
	} {
		if got := valueOf(t, families, name, nil); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for name, labels := range map[string]map[string]string{
		"gatehouse_requests_total":              {"gatehouse_outcome": "ok"},
		"gatehouse_provider_keys_fetches_total": {"gatehouse_result": "ok", "gatehouse_issuer": srv.origin()},
		"gatehouse_provider_keys_age_seconds":   {"gatehouse_issuer": srv.origin()},
		"gatehouse_tokens_verified_total":       {"gatehouse_from": "cache"},
		"gatehouse_tokens_cached":               nil,
		"gatehouse_tokens_limit":                nil,
		"gatehouse_audit_sequence":              nil,
		"gatehouse_bytes_limit":                 nil,
		"gatehouse_config_reload_time_seconds":  nil,

		"gatehouse_signins_provider_confirmed_age_seconds": nil, "gatehouse_signins_key_age_seconds": nil,
		"go_goroutines": nil,
	} {
		if got := valueOf(t, families, name, labels); got <= 0 {
			t.Errorf("%s %v is %v", name, labels, got)
		}
	}
	calls := map[string]float64{}
	for _, one := range families["gatehouse_upstream_calls_total"].GetMetric() {
		if name := one.GetLabel()[1]; name.GetName() != "gatehouse_upstream" || name.GetValue() != "notes" {
			t.Errorf("calls have the labels %v", one.GetLabel())
		}
		calls[one.GetLabel()[0].GetValue()] = one.GetCounter().GetValue()
	}
	if diff := cmp.Diff(map[string]float64{
		"ok": 1, "timeout": 1, "canceled": 0, "upstream_lost": 1, "upstream_unavailable": 1, "upstream_changed": 0,
		"upstream_malformed": 0, "upstream_refused": 0, "upstream_too_large": 0,
	}, calls); diff != "" {
		t.Errorf("calls of the upstream: %s", diff)
	}
	checkSignIns(t, families)
	operations := "mcp_server_operation_duration_seconds"
	for tool, want := range map[string]map[string]string{
		"notes_wait": {"error_type": "timeout"},
		"notes_die":  {"error_type": "tool_error", "gatehouse_reason": "upstream_lost"},
	} {
		want["gen_ai_tool_name"] = tool
		if valueOf(t, families, operations, want) < 0 {
			t.Errorf("%s is not recorded as %v", tool, want)
		}
	}
	// The counts are those of the tool server_stats.
	counts := map[string]float64{}
	for _, one := range families["gatehouse_requests_total"].GetMetric() {
		counts[one.GetLabel()[0].GetValue()] = one.GetCounter().GetValue()
	}
	if counts["no_credentials"] != 1 || counts["insufficient_scope"] != 1 || counts["ok"] < 10 {
		t.Errorf("requests: %v", counts)
	}
	checkWritten(t, "server/README.md", map[string]string{"metrics": metricsTable(families)})
}

// checkSignIns checks the counts of events. No name that is not known is a label.
func checkSignIns(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	got, want := map[string]float64{}, map[string]float64{}
	for _, one := range families["gatehouse_signins_events_total"].GetMetric() {
		labels := one.GetLabel()
		if len(labels) != 2 || labels[0].GetName() != "gatehouse_event" || labels[1].GetName() != "gatehouse_outcome" {
			t.Fatalf("events have the labels %v", labels)
		}
		got[labels[0].GetValue()+" "+labels[1].GetValue()] = one.GetCounter().GetValue()
	}
	for _, event := range append(server.SignInEvents(), "_OTHER") {
		want[event+" ok"], want[event+" caller_denied"], want[event+" _OTHER"] = 1, 1, 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events of the authorization server: %s", diff)
	}
}

// callUpstream calls the fixture in every way that ends differently, and waits until the process that it ended is
// counted.
func callUpstream(t *testing.T, srv *testServer, token string) {
	t.Helper()
	begun, cancelled := filepath.Join(t.TempDir(), "begun"), filepath.Join(t.TempDir(), "cancelled")
	for _, c := range []struct{ tool, arguments string }{
		{"notes_read_note", "{}"}, {"notes_wait", fmt.Sprintf(`{"begun":%q,"cancelled":%q}`, begun, cancelled)},
		{"notes_die", "{}"}, {"notes_read_note", "{}"},
	} {
		body, header := callModern(c.tool, c.arguments)
		if r := send(t, http.MethodPost, srv.url, token, body, header); r.status != http.StatusOK {
			t.Fatalf("%s: %d %s", c.tool, r.status, r.body)
		}
	}
}

// valueOf returns the value of the only series with these labels.
func valueOf(t *testing.T, families map[string]*dto.MetricFamily, name string, labels map[string]string) float64 {
	t.Helper()
	var found []*dto.Metric
	for _, one := range families[name].GetMetric() {
		has := map[string]string{}
		for _, label := range one.GetLabel() {
			has[label.GetName()] = label.GetValue()
		}
		matches := true
		for key, value := range labels {
			matches = matches && has[key] == value
		}
		if matches {
			found = append(found, one)
		}
	}
	if len(found) != 1 {
		t.Errorf("%s %v: %d series", name, labels, len(found))
		return -1
	}
	return found[0].GetCounter().GetValue() + found[0].GetGauge().GetValue()
}

// metricsTable lists the metrics of this program and their labels. Those of the Go runtime, of the process and of the
// exporter are left out.
func metricsTable(families map[string]*dto.MetricFamily) string {
	var b strings.Builder
	b.WriteString("| metric | labels | what it is |\n| --- | --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || name == "target_info" {
			continue
		}
		labels := map[string]bool{}
		for _, one := range families[name].GetMetric() {
			for _, label := range one.GetLabel() {
				labels["`"+label.GetName()+"`"] = true
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, strings.Join(slices.Sorted(maps.Keys(labels)), ", "),
			families[name].GetHelp())
	}
	return b.String()
}
