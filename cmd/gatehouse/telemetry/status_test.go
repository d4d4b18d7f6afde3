package telemetry_test

import (
	"fmt"
	"html"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/providers/providertest/golden"
)

// now is the time of the statuses below.
func now() time.Time { return time.Date(2026, 11, 29, 14, 3, 5, 0, time.UTC) }

func ptr[T any](v T) *T { return &v }

// fresh is the status of a server that has just started and has everything switched off.
func fresh() app.Status {
	return app.Status{
		Time: now(), Version: "v1.4.0", Resource: "https://mcp.example.com/mcp", ProviderKind: "oidc",
		NotReady: "keys_unavailable",
		Issuers:  []app.IssuerStatus{{Issuer: "https://login.example.com", Problem: providers.ReasonKeysUnavailable}},
		Requests: map[string]int64{},
		Config:   app.ConfigStatus{Digest: "3f9a1c02b7de4415", Generation: 1},
		Process:  app.ProcessStatus{Goroutines: 43, MemoryBytes: 31_400_000},
	}
}

// healthy is the status of a server that has everything switched on, and no problem.
func healthy() app.Status {
	s := fresh()
	s.UptimeSeconds, s.Ready, s.NotReady = 123_456, true, ""
	s.Issuers = []app.IssuerStatus{
		{Issuer: "https://login.example.com", Usable: true, KeysAgeSeconds: ptr(312.5)},
		{Issuer: "https://login.example.org/tenant", Usable: true, KeysAgeSeconds: ptr(7.25)},
	}
	s.Requests = map[string]int64{
		"ok": 90_000, "no_credentials": 700, "insufficient_scope": 40, "token_expired": 30, "client_error": 20,
		"throttled": 3, "key_unknown": 2, "server_error": 1,
	}
	s.Calls, s.Streams = app.Usage{Active: 37, Limit: 1000}, app.Usage{Active: 112, Limit: 1000}
	s.Sessions, s.Bytes = app.Usage{Active: 80, Limit: 1000}, app.Usage{Active: 4096, Limit: 64 << 20}
	s.Tokens = &app.TokenStatus{Cached: 140, Limit: 10_000, FromCache: 970, Checked: 30}
	s.Audit = &app.AuditStatus{OK: true, Sequence: 104_223, Unsynced: 3, Checkpoint: 104_198,
		CheckpointTime: ptr(now().Add(-44 * time.Second))}
	s.Config.Generation = 4
	s.Config.Reload = &app.ReloadResult{Time: now().Add(-3 * time.Hour), OK: true}
	s.Denials = &app.DenialStatus{Entries: 3, OK: true, Hits: 12}
	s.SignIns = &app.SignInStatus{
		Store: "redis", Confirmed: ptr(now().Add(-80 * time.Second)), KeyAgeSeconds: ptr(86400.5),
		Events: map[string]map[string]int64{
			"signin.complete": {"ok": 1012, "account_not_allowed": 2, "provider_denied": 2, "provider_unavailable": 1,
				"unknown_state": 9},
			"signin.refresh": {"ok": 20_405}, "signin.end": {"sign_in_replayed": 1},
		},
	}
	s.Upstreams = []app.UpstreamStatus{
		{Name: "files", Transport: "stdio", State: upstream.StateReady, ProtocolVersion: "2025-11-25",
			Server: "secure-filesystem-server 0.2.0", Tools: 14, Offered: 9, Pinned: true,
			Calls: map[string]int64{"ok": 1200, "canceled": 3, "timeout": 0, "upstream_lost": 0}},
		{Name: "notes", Transport: "stdio", State: upstream.StateReady, ProtocolVersion: "2025-11-25", Server: "memory",
			Tools: 9, Offered: 9, Restarts: 1, Processes: &app.Usage{Active: 3, Limit: 50}, Noise: 12,
			Calls: map[string]int64{"ok": 7, "timeout": 1, "upstream_lost": 2}},
	}
	return s
}

// broken is the status of a server with every problem.
func broken() app.Status {
	s := healthy()
	s.Ready, s.NotReady = false, "audit_unavailable"
	s.Issuers[0].Problem = providers.ReasonKeysUnavailable
	s.Issuers[1] = app.IssuerStatus{Issuer: "https://login.example.org/tenant",
		Problem: providers.ReasonIntrospectionUnavailable}
	s.Audit.OK, s.Audit.Required, s.Audit.Lost = false, true, 213
	s.Config.Reload = &app.ReloadResult{Time: now().Add(-90 * time.Second), Reason: "resource needs a restart"}
	s.Denials.OK = false
	s.Calls.Active = 913
	s.SignIns.StoreProblem, s.SignIns.ProviderProblem = "store_unavailable", "provider_client_refused"
	s.SignIns.Confirmed, s.SignIns.KeyAgeSeconds, s.SignIns.Events = nil, nil, nil
	s.Upstreams[0].Changed = 2
	s.Upstreams[1].State, s.Upstreams[1].Reason = upstream.StateRestarting, upstream.ReasonLost
	s.Upstreams = append(s.Upstreams, app.UpstreamStatus{Name: "tickets", Transport: "http", State: upstream.StateDown,
		Reason: upstream.ReasonRefused, Tools: 2, Offered: 2, Pinned: true,
		Calls: map[string]int64{"upstream_unavailable": 4}})
	return s
}

// histograms are metrics of operations and requests, as the server records them.
type histograms struct {
	*prometheus.Registry
	operations, requests *prometheus.HistogramVec
}

func newHistograms() *histograms {
	h := &histograms{
		Registry: prometheus.NewRegistry(),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mcp_server_operation_duration_seconds", Help: "Operations.",
			Buckets: []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300},
		}, []string{"mcp_method_name", "gen_ai_tool_name", "error_type"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds", Help: "Requests.",
		}, []string{"http_response_status_code"}),
	}
	h.MustRegister(h.operations, h.requests)
	return h
}

// call records calls of a tool that took seconds each.
func (h *histograms) call(tool, errorType string, seconds float64, times int) {
	for range times {
		h.operations.WithLabelValues("tools/call", tool, errorType).Observe(seconds)
	}
}

// someCalls are those of a working day.
func someCalls() *histograms {
	h := newHistograms()
	h.call("greet", "", 0.002, 400)
	h.call("search", "", 0.15, 90)
	h.call("search", "", 4, 10)
	h.call("search", "tool_error", 0.15, 5)
	h.call("report", "", 1000, 2)
	h.call("report", "-32603", 0.15, 1)
	h.operations.WithLabelValues("tools/list", "", "").Observe(1)
	h.requests.WithLabelValues("200").Observe(0.1)
	for range 2 {
		h.requests.WithLabelValues("503").Observe(0.1)
	}
	return h
}

// The names of /status.json are used by programs of others, so that a change of this file needs a thought.
func TestStatusJSON(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  func() app.Status
		metrics prometheus.Gatherer
	}{
		"fresh": {fresh, nil}, "healthy": {healthy, someCalls()}, "broken": {broken, newHistograms()},
	} {
		operator := newOperator(t, func(o *telemetry.OperatorConfig) { o.Status, o.Metrics = c.status, c.metrics })
		w := request(t, operator, http.MethodGet, "localhost", "/status.json")
		golden.File(t, "testdata/status-"+name+".json", w.Body.Bytes())
	}
}

// openPage returns the text of the status page without its tags, and its HTML.
func openPage(t testing.TB, status func() app.Status, metrics prometheus.Gatherer) (text, body string) {
	t.Helper()
	operator := newOperator(t, func(o *telemetry.OperatorConfig) { o.Status, o.Metrics = status, metrics })
	return pageOf(t, operator, "/")
}

func pageOf(t testing.TB, operator *telemetry.Operator, path string) (text, body string) {
	t.Helper()
	w := request(t, operator, http.MethodGet, "localhost", path)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	body = w.Body.String()
	_, content, _ := strings.Cut(body, "</style>")
	text = html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(content, " "))
	return strings.Join(strings.Fields(text), " "), body
}

func expect(t testing.TB, text string, wanted ...string) {
	t.Helper()
	missing := slices.DeleteFunc(wanted, func(want string) bool { return strings.Contains(text, want) })
	if len(missing) > 0 {
		t.Errorf("the page lacks %q:\n%s", missing, text)
	}
}

func TestStatusPage_OfAFreshServer(t *testing.T) {
	t.Parallel()
	text, body := openPage(t, fresh, newHistograms())
	expect(t, text,
		"Not ready: keys_unavailable", "https://mcp.example.com/mcp",
		"No token of https://login.example.com can be verified: keys_unavailable", "never fetched",
		"Requests 0 per second", "Refused 0 %", "Server errors 0", "Tool calls – none since the start",
		"No tool has been called yet.", "None since the start.", "Off: audit.dir is not set.",
		"generation 1 not reloaded since the start", "denials off",
		"keys_unavailable the issuer's keys could not be fetched",
		"Gatehouse v1.4.0 · up 0 s · 43 goroutines · 31 MB memory",
	)
	if strings.Contains(body, "NaN") || strings.Contains(body, "Inf") {
		t.Error("a number is none:", text)
	}
}

func TestStatusPage_TenNumbers(t *testing.T) {
	t.Parallel()
	text, _ := openPage(t, healthy, someCalls())
	expect(t, text,
		"Ready Gatehouse at",
		"https://login.example.com usable fetched 5 min ago", "https://login.example.org/tenant usable fetched 7 s ago",
		"no_credentials 0 700", "insufficient_scope 0 40", "token_expired 0 30", "client_error 0 20", "throttled 0 3",
		"and 3 with other reasons",
		"greet 400 < 10 ms < 10 ms 0 0", "search 105 ", " 5 0", "report 3 > 300 s > 300 s 0 1",
		"Tool calls 508 1.0 % tool errors",
		"Calls in flight 37 of 1,000", "Open streams 112 of 1,000", "Sessions 80 of 1,000",
		"Server errors 2", "Token cache hits 97 % 140 of 10,000 tokens kept",
		"records 104,223 3 not on disk yet", "checkpoint record 104,198 44 s ago", "lost 0",
		"digest 3f9a1c02b7de4415", "generation 4 reloaded 3 h 0 min ago",
		"denials 3 entries 12 requests refused", "Denied callers 12 requests, by 3 entries",
		"up 34 h 17 min",
		"files ready stdio · MCP 2025-11-25 · secure-filesystem-server 0.2.0 · pinned 9 of 14 1,203 0 0",
		"notes ready stdio · MCP 2025-11-25 · memory · 3 of 50 processes · noise 12 9 of 9 10 3 1",
		"signin.complete unknown_state 9 account_not_allowed 2 provider_denied 2 1,012 14 signin.end sign_in_replayed 1 0 1 "+
			"signin.refresh 20,405 0",
		"store redis provider in order last confirmed a person 80 s ago signing key 24 h 0 min old",
	)
	if strings.Contains(text, "problem") {
		t.Errorf("there is no problem:\n%s", text)
	}
}

func TestStatusPage_OfAServerWithProblems(t *testing.T) {
	t.Parallel()
	text, body := openPage(t, broken, newHistograms())
	expect(t, text,
		"Not ready: audit_unavailable",
		"The keys of https://login.example.com could not be renewed: keys_unavailable",
		"No token of https://login.example.org/tenant can be verified: introspection_unavailable",
		"The audit log cannot be written", "213 audit records lost",
		"The last reload was refused, the configuration before it is in force: resource needs a restart",
		"a reload was refused 90 s ago",
		"The file of denials cannot be used, the last good list is in force",
		"Calls in flight: 91 % of the limit mcp.max_calls",
		"2 tools of the upstream files withdrawn: upstream_changed", "The upstream notes is restarting: upstream_lost",
		"The upstream tickets is down: upstream_refused",
		"tickets down : upstream_refused http · pinned 2 of 2 4 4 0",
		"The store of sign-ins failed: no one can sign in or get another token: store_unavailable",
		"The provider where people sign in gave no usable answer: provider_client_refused",
		"store redis the last operation failed: store_unavailable provider provider_client_refused "+
			"no person confirmed since the start signing key none",
	)
	// Each reason links to its explanation on the same page.
	for _, link := range regexp.MustCompile(`href="#(\w+)"`).FindAllStringSubmatch(body, -1) {
		if strings.Count(body, `id="`+link[1]+`"`) != 1 {
			t.Errorf("%s has no explanation, or several", link[1])
		}
	}
	for _, id := range []string{
		"audit_unavailable", "keys_unavailable", "introspection_unavailable", "upstream_changed", "upstream_lost",
		"upstream_refused", "store_unavailable", "provider_client_refused",
	} {
		if !strings.Contains(body, `href="#`+id+`"`) {
			t.Errorf("%s is not linked", id)
		}
	}
	if strings.Contains(body, `id="signature_invalid"`) {
		t.Error("a reason that did not occur is explained")
	}
	for n, title := range map[int]string{1: "Ready, 1 problem", 2: "Ready, 2 problems"} {
		status := func() app.Status {
			s := healthy()
			s.Audit.Lost, s.Denials.OK = 1, n == 1
			return s
		}
		text, body := openPage(t, status, newHistograms())
		expect(t, text, title, "1 audit record lost")
		expect(t, body, "<title>"+title+" · Gatehouse</title>")
	}
}

// A server without metrics for Prometheus still has a page.
func TestStatusPage_WithoutMetrics(t *testing.T) {
	t.Parallel()
	text, _ := openPage(t, healthy, nil)
	expect(t, text, "Latencies need telemetry.metrics: prometheus .", "no_credentials 0 700")
}

func TestStatusPage_Refresh(t *testing.T) {
	t.Parallel()
	operator := newOperator(t, nil)
	for path, refreshes := range map[string]bool{"/": true, "/?refresh=off": false, "/?refresh=%22%3E%3Cscript%3E": true} {
		_, body := pageOf(t, operator, path)
		if strings.Contains(body, `<meta http-equiv="refresh" content="10">`) != refreshes {
			t.Errorf("%s: refreshes is not %v", path, refreshes)
		}
	}
}

// Tools may be those of another server, which chooses their names.
func TestStatusPage_HostileToolNames(t *testing.T) {
	t.Parallel()
	h := newHistograms()
	for _, name := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'; DROP TABLE tools; --`, "{{.Data}}",
		"\u202egpj.exe", "line\nbreak", "\x1b[31mred", strings.Repeat("long", 5000), strings.Repeat("ä", 3000),
		"javascript:alert(1)", "</style><script>alert(1)</script>",
	} {
		h.call(name, "tool_error", 0.1, 1)
	}
	for i := range 3000 {
		h.call(fmt.Sprintf("tool-%04d", i), "", 0.1, 1)
	}
	text, body := openPage(t, healthy, h)
	for _, refused := range []string{"<script", "<img", "\u202e", "\x1b", "line\nbreak", strings.Repeat("long", 20)} {
		if strings.Contains(body, refused) {
			t.Errorf("the page contains %q", refused)
		}
	}
	expect(t, text, "<script>alert(1)</script>", "calls of other tools")
	if len(body) > 64<<10 {
		t.Errorf("the page has %d bytes", len(body))
	}
	operator := newOperator(t, func(o *telemetry.OperatorConfig) { o.Metrics = h })
	if n := request(t, operator, http.MethodGet, "localhost", "/status.json").Body.Len(); n > 64<<10 {
		t.Errorf("the document has %d bytes", n)
	}
}

// The rates are those of the last minute, also when the server has just started.
func TestStatusPage_Traffic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ok, refused, failed atomic.Int64
		metrics := newHistograms()
		operator := newOperator(t, func(c *telemetry.OperatorConfig) {
			c.Metrics = metrics
			c.Status = func() app.Status {
				s := healthy()
				s.Requests = map[string]int64{
					"ok": 1000 + ok.Load(), "token_expired": 50 + refused.Load(), "internal_error": failed.Load(),
				}
				return s
			}
		})
		operator.Start(newPipeListener())
		defer operator.Stop()
		text, body := pageOf(t, operator, "/")
		expect(t, text, "Requests 0 per second five minutes, peak 0 per second", "Refused 0 %", "token_expired 0 50")
		if strings.Contains(body, "<rect class=\"all\" x=") {
			t.Error("the chart has a bar without requests")
		}

		time.Sleep(2*time.Second + time.Millisecond)
		ok.Add(15)
		refused.Add(5)
		text, _ = pageOf(t, operator, "/")
		expect(t, text, "Requests 10.0 per second", "Refused 25 %", "token_expired 5 55")

		for range 6000 { // ten minutes with 100 requests per second, of which one in ten is refused
			time.Sleep(100 * time.Millisecond)
			ok.Add(9)
			refused.Add(1)
		}
		text, body = pageOf(t, operator, "/")
		expect(t, text, "Requests 100 per second", "peak 100 per second", "Refused 10 %", "token_expired 3,0")
		if n := strings.Count(body, `<rect class="all" x="`); n != 60 {
			t.Errorf("the chart has %d bars", n)
		}

		failed.Add(10)
		metrics.requests.WithLabelValues("500").Observe(1)
		time.Sleep(time.Second)
		text, _ = pageOf(t, operator, "/")
		expect(t, text, "Ready, 1 problem", "1 response with status 5xx in the last five minutes", "Server errors 1",
			"internal_error 10 10")
		time.Sleep(2 * time.Minute)
		text, _ = pageOf(t, operator, "/")
		expect(t, text, "Requests 0 per second", "peak 100 per second", "Refused 0 %", "internal_error 10 10")
		time.Sleep(4 * time.Minute)
		text, _ = pageOf(t, operator, "/")
		expect(t, text, "Requests 0 per second", "peak 0 per second", "Server errors 1", "internal_error 0 10")
		if strings.Contains(text, "problem") {
			t.Errorf("what is long past is still a problem:\n%s", text)
		}
	})
}

// The manual names every member of the document.
func TestStatusJSON_EveryMemberIsInTheManual(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), "## /status.json")
	seen := 0
	var visit func(of reflect.Type)
	visit = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() {
			return
		}
		for field := range of.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.IsExported() && name != "" {
				seen++
				if !strings.Contains(section, "`"+name+"`") {
					t.Errorf("README.md does not describe %s", name)
				}
			}
			if field.IsExported() {
				visit(field.Type)
			}
		}
	}
	visit(reflect.TypeFor[telemetry.OperatorStatus]())
	if seen < 40 {
		t.Errorf("only %d members were seen", seen)
	}
}

// A provider of another module may have reasons of its own, which no package of this one describes.
func TestStatusPage_ReasonOfAnotherModule(t *testing.T) {
	t.Parallel()
	text, body := openPage(t, func() app.Status {
		s := healthy()
		s.Requests["acme_quota"] = 5000
		return s
	}, newHistograms())
	expect(t, text, "acme_quota 0 5,000", "acme_quota a reason of the provider, which is that of another module")
	expect(t, body, `href="#acme_quota"`, `id="acme_quota"`)
}
