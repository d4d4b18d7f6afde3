package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver"
	brokers "gatehouse/providers/broker"
	"gatehouse/providers/providertest"
)

// observed is a server with everything that has metrics: `gatehouse serve` with an issuer, an audit log, denials and
// the operator's listener.
type observed struct {
	issuer   *providertest.Issuer
	resource string
	operator string // address of the operator's listener
	profile  string // a file that the server polls
}

func startObserved(t *testing.T) observed {
	t.Helper()
	o := observed{issuer: providertest.NewIssuer(t), profile: writeFile(t, "gatehouse.yaml", "log: {level: info}\n")}
	audit := newAuditFolder(t)
	environ := []string{"GATEHOUSE_AUDIT__SIGNING_KEY_FILE=" + writeFile(t, "audit.key", audit.signingKey)}
	s, address := startServiceIn(t, environ, append([]string{"serve", "--config=" + o.profile, "--reload.poll=100ms",
		"--resource=http://ADDRESS/mcp", "--provider.kind=oidc",
		"--provider.issuer=" + o.issuer.URL(), "--provider.jwks_url=" + o.issuer.KeysURL(),
		"--scopes.required=mcp:use", "--tools.demo", "--mcp.max_calls=1",
		"--audit.dir=" + audit.dir,
		"--denials.file=" + writeFile(t, "denials.yaml", "- subject: mallory\n"),
		"--operator.listen=127.0.0.1:0"}, fixtureFlags(t, "notes", "notes", "tools=*", "processes=per_user")...)...)
	o.resource = "http://" + address + "/mcp"
	listens := regexp.MustCompile(`msg="serving operators" listen=(\S+)`)
	for began := time.Now(); o.operator == ""; time.Sleep(5 * time.Millisecond) {
		if match := listens.FindStringSubmatch(s.stderr.String()); match != nil {
			o.operator = match[1]
		} else if time.Since(began) > 10*time.Second {
			t.Fatal("there is no operator's listener")
		}
	}
	waitUntilReady(t, "http://"+address)
	return o
}

// post sends a request as the subject, and fails the test if the answer has another status.
func (o observed) post(t *testing.T, token string, r request, status int) response {
	t.Helper()
	answer := send(t, http.MethodPost, o.resource, token, r.body, r.header)
	if answer.status != status {
		t.Fatalf("%s was answered %d %s, want %d", r.body, answer.status, answer.body, status)
	}
	return answer
}

// scrape returns the metrics.
func (o observed) scrape(t *testing.T) string {
	t.Helper()
	status, text := httpGet(t, "http://"+o.operator+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics returned %d %s", status, text)
	}
	return text
}

// call calls a tool, in order.
func (o observed) call(t *testing.T) {
	t.Helper()
	body, header := callModern("greet", `{"name":"Ada"}`)
	alice := o.issuer.Token(o.resource, map[string]any{"scope": "mcp:use greet:read"})
	o.post(t, alice, request{header: header, body: body}, http.StatusOK)
}

// use causes a value of every label that the alerts and the dashboard choose by.
func (o observed) use(t *testing.T) {
	t.Helper()
	tool := func(name, arguments string) request {
		body, header := callModern(name, arguments)
		return request{header: header, body: body}
	}
	if err := os.WriteFile(o.profile, []byte("log: {level: debug}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	alice := o.issuer.Token(o.resource, map[string]any{"scope": "mcp:use greet:read"})
	for range 2 { // the second token is remembered
		o.post(t, alice, tool("greet", `{"name":"Ada"}`), http.StatusOK)
	}
	failed := o.post(t, alice, tool("greet", `{"name":""}`), http.StatusOK)
	if !strings.Contains(failed.body, `"isError":true`) {
		t.Fatalf("the call did not fail: %s", failed.body)
	}
	session := o.post(t, alice, request{body: initializeBody}, http.StatusOK).header.Get("Mcp-Session-Id")
	o.post(t, alice, request{body: `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`}.
		with("Mcp-Session-Id", session, "Mcp-Protocol-Version", legacy), http.StatusOK)

	o.post(t, "", tool("whoami", `{}`), http.StatusUnauthorized)
	o.post(t, o.issuer.Token("https://other.example.com", nil), tool("whoami", `{}`), http.StatusUnauthorized)
	o.post(t, o.issuer.Token(o.resource, nil), tool("greet", `{"name":"Ada"}`), http.StatusForbidden)
	o.post(t, o.issuer.Token(o.resource, map[string]any{"sub": "mallory"}), tool("whoami", `{}`), http.StatusForbidden)

	// A call beyond the limit, which is 1: the other one is in flight when its progress arrives.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wait := tool("wait", `{"steps":1}`).withBody(`"_meta":{`, `"_meta":{"progressToken":"p",`).with("Accept",
		"application/json, text/event-stream", "Content-Type", "application/json", "Authorization", "Bearer "+alice)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.resource, strings.NewReader(wait.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range wait.header {
		req.Header.Set(name, value)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	o.post(t, alice, tool("greet", `{"name":"Ada"}`), http.StatusServiceUnavailable)

	// The listener collects the metrics once a second at most, and the reload takes a moment.
	for _, last := range []string{"\ngatehouse_config_reload_time_seconds ", `{gatehouse_outcome="too_many_calls"} `} {
		for began := time.Now(); !strings.Contains(o.scrape(t), last); time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("the metrics do not get %q", last)
			}
		}
	}
}

// series are the series of a scrape: the labels, by name of the metric.
type series map[string][]map[string]string

var (
	sample      = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$`)
	sampleLabel = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"`)
)

// parseScrape reads the text format of Prometheus, 0.0.4. Names that need quotes, which Prometheus 3 allows, are
// errors: the expressions do not have them.
func parseScrape(t *testing.T, text string) series {
	t.Helper()
	all := series{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		match := sample.FindStringSubmatch(line)
		if match == nil {
			t.Fatalf("the scrape has the line %q", line)
		}
		labels := map[string]string{}
		for _, l := range sampleLabel.FindAllStringSubmatch(match[2], -1) {
			labels[l[1]], _ = strconv.Unquote(`"` + l[2] + `"`)
		}
		all[match[1]] = append(all[match[1]], labels)
	}
	return all
}

// targetLabels are added by Prometheus: the first two always, the others by relabeling.
var targetLabels = []string{"job", "instance", "namespace", "service"}

// matches reports whether s chooses a series of the scrape.
func (all series) matches(s selector) bool {
	return slices.ContainsFunc(all[s.metric], func(labels map[string]string) bool {
		return !slices.ContainsFunc(s.matchers, func(m matcher) bool {
			return !slices.Contains(targetLabels, m.label) && !m.holds(labels)
		})
	})
}

// labelsOf returns the names of all labels of the series that an expression names, with those of the target.
func (all series) labelsOf(e expression) []string {
	names := slices.Concat(targetLabels, e.made)
	for _, s := range e.selectors {
		for _, labels := range all[s.metric] {
			for name := range labels {
				names = append(names, name)
			}
		}
	}
	return names
}

// Each selector of the alerts and of the dashboard finds a series in a scrape of the real server, and the labels that
// they group by and show exist.
func TestPrometheus_ExpressionsFitARealScrape(t *testing.T) {
	t.Parallel()
	o := startObserved(t)
	o.use(t)
	text := o.scrape(t)
	scraped := parseScrape(t, text)
	maps.Copy(scraped, signInSeries(t))
	scraped["up"] = []map[string]string{{}} // Prometheus makes it
	used := map[string]bool{}
	for where, expr := range promqlExpressions(t) {
		e := parsePromQL(expr)
		if len(e.selectors) == 0 {
			t.Errorf("%s: no selector was found in %s", where, expr)
		}
		for _, s := range e.selectors {
			used[s.metric] = true
			if !scraped.matches(s) {
				t.Errorf("%s: no series of the scrape is chosen by %+v; there are %v", where, s, scraped[s.metric])
			}
		}
		known := scraped.labelsOf(e)
		for _, label := range e.matching {
			if !slices.Contains(known, label) {
				t.Errorf("%s: no series has the label %s", where, label)
			}
		}
	}
	for where, shown := range shownLabels(t, scraped) {
		for _, label := range shown.names {
			if !slices.Contains(shown.available, label) {
				t.Errorf("%s shows the label %s; there are %v", where, label, shown.available)
			}
		}
	}
	for name := range scraped {
		if strings.HasPrefix(name, "gatehouse_") && !used[name] {
			t.Errorf("neither an alert nor the dashboard uses %s", name)
		}
	}
	if t.Failed() {
		t.Logf("the scrape:\n%s", text)
	}
}

// signInSeries are the series that only a server with an authorization server has.
func signInSeries(t *testing.T) series {
	t.Helper()
	srv := startServer(t, nil, usePrometheus, useSignIns(brokers.ReasonProviderClientRefused, authserver.ReasonReplayed))
	all := parseScrape(t, scrape(t, srv.metrics))
	maps.DeleteFunc(all, func(name string, _ []map[string]string) bool { return !isSignInMetric(name) })
	return all
}

func isSignInMetric(text string) bool { return strings.Contains(text, "gatehouse_signins_") }

// shown are the labels that a text shows and those that the result of its expression has.
type shown struct{ names, available []string }

// shownLabels returns the labels in the texts of alerts and in legends, by where they are.
func shownLabels(t *testing.T, scraped series) map[string]shown {
	t.Helper()
	available := func(expr string) []string {
		if e := parsePromQL(expr); e.grouping != nil {
			return slices.Concat(e.grouping, e.made)
		}
		return scraped.labelsOf(parsePromQL(expr))
	}
	names := func(text, pattern string) (found []string) {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
		return found
	}
	all := map[string]shown{}
	for _, a := range readAlerts(t) {
		text := a.Annotations["summary"] + a.Annotations["description"]
		all["alert "+a.Alert] = shown{names(text, `\$labels\.(\w+)`), available(a.Expr)}
	}
	for _, p := range readDashboard(t) {
		for i, target := range p.Targets {
			all[fmt.Sprintf("the legend of panel %q, %s", p.Title, target.RefID)] = shown{
				names(target.LegendFormat, `\{\{(\w+)\}\}`), available(p.expr(i)),
			}
		}
	}
	return all
}
