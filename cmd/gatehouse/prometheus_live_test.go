package main

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var prometheusDir = flag.String("prometheus", "",
	"folder with the programs prometheus and promtool; cmd/conformance/prometheus.sh finds them")

// livePrometheus is a Prometheus with configs/prometheus.
type livePrometheus struct{ url string }

// startPrometheus runs Prometheus with prometheus.yml, except that it scrapes the given target, each second.
func startPrometheus(t *testing.T, target string) livePrometheus {
	t.Helper()
	dir := t.TempDir()
	config := read(t, "configs/prometheus/prometheus.yml")
	for old, replacement := range map[string]string{
		"server:9464": target, "interval: 15s": "interval: 1s",
	} {
		if !strings.Contains(config, old) {
			t.Fatalf("prometheus.yml has no %q", old)
		}
		config = strings.ReplaceAll(config, old, replacement)
	}
	for name, text := range map[string]string{
		"prometheus.yml": config, "rules.yml": read(t, "configs/prometheus/rules.yml"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	log := &syncBuffer{}
	cmd := exec.CommandContext(context.Background(), filepath.Join(*prometheusDir, "prometheus"),
		"--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("log of Prometheus:\n%s", log)
		}
	})
	p := livePrometheus{"http://" + address}
	p.waitFor(t, "Prometheus to start", func() bool {
		resp, err := http.Get(p.url + "/-/ready") //nolint:noctx // the loop has a deadline
		if err != nil {
			return false
		}
		resp.Body.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

func (livePrometheus) waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// query returns the values of an expression, by the labels of the series.
func (p livePrometheus) query(t *testing.T, expr string) map[string]float64 {
	t.Helper()
	_, body := httpGet(t, p.url+"/api/v1/query?query="+url.QueryEscape(expr))
	var answer struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     []struct {
				Metric json.RawMessage
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" ||
		answer.Data.ResultType != "vector" {
		t.Errorf("%s: %v, %s", expr, err, body)
	}
	values := map[string]float64{}
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		values[string(r.Metric)], _ = strconv.ParseFloat(text, 64)
	}
	return values
}

// A real Prometheus scrapes the real server. promtool accepts the scrape, every rule can be evaluated, no alert is
// pending while all is well, and every panel of the dashboard has data, but for those of an authorization server.
func TestPrometheus_Live(t *testing.T) {
	if *prometheusDir == "" {
		t.Skip("it needs Prometheus: cmd/conformance/prometheus.sh finds it, and runs this test")
	}
	o := startObserved(t)
	p := startPrometheus(t, o.operator)
	for range 3 {
		o.call(t)
		p.waitForScrape(t)
	}
	if up := p.query(t, `up{job="gatehouse", service="server"} == 1`); len(up) != 1 {
		t.Errorf("up is %v", up)
	}
	alerts := readAlerts(t)
	states := p.alertStates(t)
	for _, a := range alerts {
		if states[a.Alert] != "inactive" {
			t.Errorf("%s is %q although all is well", a.Alert, states[a.Alert])
		}
	}

	for range 3 { // so that counters grow between scrapes
		o.use(t)
		p.waitForScrape(t)
	}
	for where, expr := range promqlExpressions(t) {
		if got := p.query(t, expr); strings.HasPrefix(where, "panel") && len(got) == 0 && !isSignInMetric(expr) {
			t.Errorf("%s has no data: %s", where, expr)
		}
	}
	if states := p.alertStates(t); states["GatehouseDenied"] != "firing" || len(states) != len(alerts) {
		t.Errorf("after a denied request, the alerts are %v", states)
	}
	check := exec.CommandContext(t.Context(), filepath.Join(*prometheusDir, "promtool"), "check", "metrics")
	check.Stdin = strings.NewReader(o.scrape(t))
	if problems, err := check.CombinedOutput(); err != nil || len(problems) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, problems)
	}
}

// waitForScrape waits for the end of the next scrape.
func (p livePrometheus) waitForScrape(t *testing.T) {
	t.Helper()
	count := func() (n float64) {
		for _, value := range p.query(t, `count_over_time(up{job="gatehouse", service="server"}[1h])`) {
			n = value
		}
		return n
	}
	before := count()
	p.waitFor(t, "a scrape", func() bool { return count() > before })
}

// alertStates waits for the next evaluation of the rules and returns the state of each: inactive, pending or firing.
func (p livePrometheus) alertStates(t *testing.T) map[string]string {
	t.Helper()
	type rule struct {
		Name, Health, State, LastError string
		LastEvaluation                 time.Time
	}
	var rules []rule
	called := time.Now()
	p.waitFor(t, "the rules", func() bool {
		var answer struct {
			Data struct{ Groups []struct{ Rules []rule } }
		}
		_, body := httpGet(t, p.url+"/api/v1/rules")
		if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Data.Groups) != 1 {
			t.Fatalf("%v: %s", err, body)
		}
		rules = answer.Data.Groups[0].Rules
		return !slices.ContainsFunc(rules, func(r rule) bool { return r.LastEvaluation.Before(called) })
	})
	states := map[string]string{}
	for _, r := range rules {
		if states[r.Name] = r.State; r.Health != "ok" {
			t.Errorf("%s: %s", r.Name, r.LastError)
		}
	}
	return states
}
