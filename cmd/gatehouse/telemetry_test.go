package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/configs"
	"gatehouse/providers/providertest"
	"gatehouse/server"
)

// sampleOf sets telemetry.sample.
func sampleOf(share float64) func(*configs.Config) {
	return func(c *configs.Config) { c.Telemetry.Sample = share }
}

// usePrometheus collects metrics for Prometheus.
func usePrometheus(c *configs.Config) { c.Telemetry.Metrics = configs.TelemetryPrometheus }

// hangUpAfter sends a request and hangs up after a while. It returns when the request has its line in the log.
func hangUpAfter(t *testing.T, srv *testServer, token, body string, header map[string]string, after time.Duration) {
	t.Helper()
	ctx, hangUp := context.WithTimeout(context.Background(), after)
	defer hangUp()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
	}
	for begin := time.Now(); !strings.Contains(srv.log.String(), "request_id="+header["X-Request-Id"]); {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("the request does not end")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// post sends a request to the server without a connection.
func (srv *testServer) post(r request, token, host string) *httptest.ResponseRecorder {
	method := r.method
	if method == "" {
		method = http.MethodPost
	}
	req := httptest.NewRequest(method, srv.url, strings.NewReader(r.body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+token)
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	if host != "" {
		req.Host = host
	}
	w := deadlineRecorder{httptest.NewRecorder()}
	srv.HTTP.ServeHTTP(w, req)
	return w.ResponseRecorder
}

// seriesOf returns the labels of the series of each metric.
func seriesOf(t *testing.T, metrics prometheus.Gatherer) map[string][]string {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string][]string{}
	for _, family := range families {
		for _, one := range family.GetMetric() {
			series[family.GetName()] = append(series[family.GetName()], fmt.Sprint(one.GetLabel()))
		}
	}
	return series
}

// No caller and no stranger can add a series, whatever they send: after the first of its kind, 10,000 names more change
// nothing.
func TestTelemetry_HostileNamesAddNoSeries(t *testing.T) {
	t.Parallel()
	n := 300
	if os.Getenv("GATEHOUSE_LONG") != "" {
		n = 10_000
	}
	authority := providertest.NewIssuer(t)
	srv := startServer(t, oidcSettings(authority, map[string]string{
		"log.level": "error", "server.failed_auth_per_minute": "1000000", "mcp.max_sessions": "5",
	}), usePrometheus)
	hostile := func(i int) {
		name := fmt.Sprintf("canary-%d-%s", i, strings.Repeat("x", i%300))
		token := authority.Token(srv.url, map[string]any{
			"sub": name, "client_id": name, "jti": name, "scope": "mcp:use greet:read " + strings.ReplaceAll(name, "-", ":"),
		})
		tool, header := callModern(name, "{}")
		session := strings.Replace(initializeBody, "2025-11-25", fmt.Sprintf("%d-01-01", i), 1)
		session = strings.Replace(session, `"name":"t"`, `"name":"`+name+`"`, 1)
		for _, r := range []request{
			{body: tool, header: header},
			modernRequest("prompts/get", fmt.Sprintf(`"name":%q`, name)).with("Mcp-Name", name),
			modernRequest("resources/read", fmt.Sprintf(`"uri":"note://%s"`, name)).with("Mcp-Name", "note://"+name),
			modernRequest(name[:min(len(name), 120)], ""),
			modernRequest("tools/list", "").with("Mcp-Protocol-Version", fmt.Sprintf("2026-%d", i)),
			modernRequest("tools/list", "").with("User-Agent", name, "X-Request-Id", name, "Origin", "http://"+name+".example"),
			modernRequest("tools/list", "").withBody(`"id":7`, fmt.Sprintf(`"id":%q`, name)),
			modernRequest("tools/call", fmt.Sprintf(`"name":"trace","arguments":{"code":%d}`, -40000-i)).
				with("Mcp-Name", "trace"),
			{body: session},
			modernRequest("tools/list", "").by("X" + strings.ReplaceAll(name, "-", "")),
		} {
			srv.post(r, token, "")
		}
		srv.post(modernRequest("tools/list", ""), token, name+".example")
		srv.post(modernRequest("tools/list", ""), "canary."+name+".x", "")
		srv.HTTP.ServeHTTP(deadlineRecorder{httptest.NewRecorder()},
			httptest.NewRequest(http.MethodGet, srv.origin()+"/"+name, nil))
	}
	// On a slow computer, sessions that have been idle for a minute end to make room for others.
	token := authority.Token(srv.url, map[string]any{"scope": "mcp:use"})
	send(t, http.MethodDelete, srv.url, token, "", map[string]string{"Mcp-Session-Id": srv.openSession(t, token)})
	for i := range 10 { // the first of each kind, also of the version of HTTP and the state of a session
		hostile(i)
	}
	before := seriesOf(t, srv.metrics)
	for i := range n {
		hostile(i + 10)
	}
	after := seriesOf(t, srv.metrics)
	total := 0
	for name, series := range after {
		total += len(series)
		if diff := cmp.Diff(before[name], series); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if total < 40 || total > 400 {
		t.Errorf("there are %d series", total)
	}
}

// Neither metrics nor spans contain a token, an argument, a result, an error text of a tool, a subject, a client, a
// scope that only the token names, a query or a header.
func TestTelemetry_ContainsNothingOfACaller(t *testing.T) {
	t.Parallel()
	authority, collector := providertest.NewIssuer(t), newTestCollector(t)
	settings := oidcSettings(authority, map[string]string{"log.level": "error"})
	exported := startServer(t, settings, collector.use)
	scraped := startServer(t, settings, usePrometheus)
	var secrets []string
	for _, srv := range []*testServer{exported, scraped} {
		token := authority.Token(srv.url, map[string]any{
			"sub": "canary-subject", "client_id": "canary-client", "jti": "canary-jti", "email": "canary@example.com",
			"scope": "mcp:use greet:read canary:scope",
		})
		secrets = append(secrets, token, token[strings.LastIndexByte(token, '.')+1:])
		tool := func(name, arguments string) request {
			body, header := callModern(name, arguments)
			return request{body: body, header: header}
		}
		opened := srv.post(request{body: initializeBody}, token, "").Header().Get("Mcp-Session-Id")
		secrets = append(secrets, opened)
		inSession, _ := callLegacy("greet", `{"name":"canary-argument"}`, opened)
		for _, r := range []request{
			tool("greet", `{"name":"canary-argument"}`), tool("greet", `{"canary-argument":"x"}`),
			tool("greet", `{"name":7,"canary-argument":1}`), tool("trace", `{"code":-1}`), tool("trace", `{"code":-32603}`),
			tool("trace", `{"code":-32602}`), tool("trace", `{"code":-32603}`).withBody(`"id":7`, `"id":7.0`),
			tool("stats", `{}`), tool("canary-tool", "{}"),
			modernRequest("prompts/get", `"name":"plan","arguments":{"a":"canary-argument"}`).with("Mcp-Name", "plan"),
			modernRequest("resources/read", `"uri":"note://canary-uri"`).with("Mcp-Name", "note://canary-uri"),
			modernRequest("canary/method", `"canary-argument":1`),
			{body: inSession, header: map[string]string{"Mcp-Session-Id": opened}},
			{body: `{"canary-body`},
			tool("greet", `{"name":"A"}`).with("User-Agent", "canary-agent", "X-Canary", "canary-header", "Cookie", "canary=1"),
			tool("greet", `{"name":"A"}`).with("Traceparent", "canary-parent", "Tracestate", "canary=1", "Baggage", "canary=1"),
			{method: http.MethodDelete, header: map[string]string{"Mcp-Session-Id": opened}},
		} {
			srv.post(r, token, "")
		}
		srv.post(tool("greet", "{}"), "canary-token", "")
		srv.post(tool("greet", "{}"), token, "canary-host.example")
		srv.HTTP.ServeHTTP(deadlineRecorder{httptest.NewRecorder()},
			httptest.NewRequest(http.MethodGet, srv.origin()+"/health?token=canary-query", nil))
		srv.HTTP.ServeHTTP(deadlineRecorder{httptest.NewRecorder()},
			httptest.NewRequest(http.MethodGet, srv.url+"?token=canary-query", nil))
	}
	text := scrape(t, scraped.metrics)
	exported.stop()
	text += collector.raw.String()
	if !strings.Contains(text, "greet") || !strings.Contains(text, "params_invalid") || len(collector.all()) < 30 {
		t.Errorf("the run is not recorded: %d spans", len(collector.all()))
	}
	for _, secret := range append(secrets, "canary") {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("it contains %q: ...%s...", secret, text[max(0, i-100):min(len(text), i+100)])
		}
	}
}

// scrape returns the metrics as Prometheus reads them.
func scrape(t *testing.T, metrics prometheus.Gatherer) string {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// A collector that is down, hangs or refuses costs no call anything and one line in the log. The server stops in time.
func TestTelemetry_CollectorThatFailsCostsNothing(t *testing.T) {
	t.Parallel()
	hanging, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hanging.Close() })
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "canary-answer", http.StatusServiceUnavailable)
	}))
	t.Cleanup(refusing.Close)
	for name, c := range map[string]struct{ endpoint, want string }{
		"down":    {"http://" + freeAddress(t), "refused"},
		"hanging": {"http://" + hanging.Addr().String(), "no answer in time"},
		"refuses": {refusing.URL, "answered 503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := "export OTEL_EXPORTER_OTLP_ENDPOINT='" + c.endpoint + "' OTEL_EXPORTER_OTLP_TIMEOUT=50 " +
				"OTEL_EXPORTER_OTLP_HEADERS=api-key=canary-header " +
				"OTEL_BSP_SCHEDULE_DELAY=10 OTEL_METRIC_EXPORT_INTERVAL=20 OTEL_BSP_MAX_QUEUE_SIZE=16; "
			p, address := startProcess(t, before, nil, "--telemetry.traces=otlp", "--telemetry.metrics=otlp", "--tools.demo")
			if !p.healthy(address) {
				t.Fatal("the server is not healthy")
			}
			srv := &testServer{url: "http://" + address + "/mcp"}
			token := srv.token(t, "alice", "mcp:use")
			body, header := callModern("whoami", "{}")
			for range 100 { // more spans than the queue holds
				begin := time.Now()
				r := send(t, http.MethodPost, srv.url, token, body, header)
				if took := time.Since(begin); r.status != http.StatusOK || took > 2*time.Second {
					t.Fatalf("%d after %s: %s", r.status, took, r.body)
				}
			}
			time.Sleep(200 * time.Millisecond) // several exports
			code, took := p.end(t, syscall.SIGTERM)
			if most := 100*time.Millisecond + stopMargin; code != exitOK || took > most {
				t.Errorf("exit code %d after %s, at most %s", code, took, most)
			}
			log := p.stderr.String()
			if n := strings.Count(log, "telemetry"); n != 1 || !strings.Contains(log, c.want) {
				t.Errorf("%d lines about telemetry, want one that has %q", n, c.want)
			}
			if strings.Contains(log, "canary") {
				t.Error("the log contains the answer of the collector, or a header")
			}
		})
	}
}

// At a stop, what is left is exported.
func TestTelemetry_StopExportsWhatIsLeft(t *testing.T) {
	t.Parallel()
	collector := newTestCollector(t)
	before := "export OTEL_EXPORTER_OTLP_ENDPOINT='" + collector.url + "' OTEL_SERVICE_NAME=tools " +
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test; "
	p, address := startProcess(t, before, nil, "--telemetry.traces=otlp", "--telemetry.metrics=otlp")
	if !p.healthy(address) {
		t.Fatal("the server is not healthy")
	}
	send(t, http.MethodPost, "http://"+address+"/mcp", "", "{}", map[string]string{"X-Request-Id": "request-1"})
	if code, _ := p.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	collector.find(t, "gatehouse.request.id", "request-1")
	points, _ := collector.series()
	if len(points["http.server.request.duration"]) != 1 || len(points["gatehouse.ready"]) != 1 {
		t.Errorf("%v", points)
	}
	for _, want := range []string{"service.name", "tools", "deployment.environment.name", "service.instance.id"} {
		if !strings.Contains(collector.raw.String(), want) {
			t.Errorf("the resource lacks %s", want)
		}
	}
	if strings.Contains(p.stderr.String(), "telemetry") {
		t.Error("an export failed")
	}
}

// The last export gets what the stop has left of its time, whatever the collector does.
func TestFlush_TakesTheRestOfTheStop(t *testing.T) {
	t.Parallel()
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hanging.Close() })
	settings := server.Settings{DrainTime: time.Second, ShutdownTimeout: 10 * time.Second}
	for name, c := range map[string]struct{ ago, want time.Duration }{
		"it took all of it":  {20 * time.Second, minFlushTime},
		"half a second left": {10500 * time.Millisecond, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := &configs.Config{Telemetry: configs.Telemetry{Metrics: configs.TelemetryOff, Traces: configs.TelemetryOTLP,
				Sample: 1}}
			cfg.OTLP.Traces = configs.Collector{URL: "http://" + hanging.Addr().String() + "/", Timeout: time.Minute}
			exported, err := telemetry.New(cfg, "test")
			if err != nil {
				t.Fatal(err)
			}
			_, span := exported.Tracer.Start(context.Background(), "test")
			span.End()
			begin := time.Now()
			stopped := begin.Add(-c.ago)
			flush(exported, settings, &stopped)
			if took := time.Since(begin); took < c.want/2 || took > c.want+200*time.Millisecond {
				t.Errorf("it took %s, want %s", took, c.want)
			}
		})
	}
}
