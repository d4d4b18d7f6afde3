package server_test

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/server"
)

// A flood of requests without a token must not fill a disk, nor hide successful calls.
func TestAccessLogLimitsRefusals(t *testing.T) {
	f := start(t, options{})
	const flood = 2_000
	var clients sync.WaitGroup
	begin := time.Now()
	for range 8 {
		clients.Go(func() {
			for range flood / 8 {
				if r := f.do(t, http.MethodPost, "/mcp", nil, nil); r.status != http.StatusUnauthorized {
					t.Errorf("answered %d", r.status)
				}
			}
		})
	}
	clients.Wait()
	took := time.Since(begin)
	if r := f.do(t, http.MethodPost, "/mcp", bearer(f.token("mcp:use")), nil); r.status != http.StatusOK {
		t.Errorf("the good call answered %d", r.status)
	}
	lines := strings.Count(f.log.String(), "reason=no_credentials")
	if most := 500 + int(20*took.Seconds()) + 1; lines > most || lines < 500 {
		t.Errorf("%d of %d refusals are in the log, want 500 to %d", lines, flood, most)
	}
	if !strings.Contains(f.log.String(), "caller.subject=alice") {
		t.Error("the good call is not in the log")
	}
	if took < 20*time.Second && !func() bool { // the next line that is allowed reports the omitted ones
		for range 100 {
			time.Sleep(60 * time.Millisecond)
			f.do(t, http.MethodPost, "/mcp", nil, nil)
			if strings.Contains(f.log.String(), "requests omitted from the log") {
				return true
			}
		}
		return false
	}() {
		t.Error("the log does not report the omitted lines")
	}
}

// Control characters and bidi overrides from a request must not reach a terminal.
func TestAccessLogEscapesControlCharacters(t *testing.T) {
	f := start(t, options{})
	f.do(t, http.MethodGet, "/%C2%9B2J%E2%80%AE%7F", nil, nil)
	token := f.issuer.Token(f.resource.String(),
		map[string]any{"sub": "al\u009bice\u202e", "client_id": strings.Repeat("x", 500)})
	if r := f.do(t, http.MethodPost, "/mcp", bearer(token), nil); r.status != http.StatusOK {
		t.Fatalf("answered %d", r.status)
	}
	log := f.log.String()
	for _, want := range []string{"path=/%C2%9B2J%E2%80%AE%7F", `al\u009bice\u202e`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %s:\n%s", want, log)
		}
	}
	if strings.ContainsAny(log, "\u009b\u202e\x7f") || strings.Contains(log, strings.Repeat("x", 300)) {
		t.Errorf("the log has control characters or an unbounded value:\n%s", log)
	}
}

// Each request is one line with its latency, at a level that matches the status.
func TestAccessLogHasLatencyAndLevel(t *testing.T) {
	f := start(t, options{})
	good := bearer(f.token("mcp:use"))
	slow, broken := maps.Clone(good), maps.Clone(good)
	slow["X-Wait"], broken["X-Do"] = "60ms", "panic"
	for name, c := range map[string]struct {
		header map[string]string
		level  string
		least  time.Duration
	}{
		"a slow call":   {slow, "INFO", 60 * time.Millisecond},
		"a refusal":     {nil, "INFO", 0},
		"a bad token":   {bearer("bad"), "INFO", 0},
		"a broken call": {broken, "ERROR", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.do(t, http.MethodPost, "/mcp", c.header, nil)
			line := logLine(t, f.log, r.header.Get("X-Request-Id"))
			if !strings.Contains(line, "level="+c.level) {
				t.Errorf("not %s: %s", c.level, line)
			}
			_, rest, _ := strings.Cut(line, "latency_ms=")
			text, _, _ := strings.Cut(rest, " ")
			if took, err := time.ParseDuration(text + "ms"); err != nil || took < c.least || took <= 0 ||
				took > 10*time.Second {
				t.Errorf("it took %q: %s", text, line)
			}
			if name == "a bad token" && !strings.Contains(line, "detail=") {
				t.Errorf("nothing says what is wrong with it: %s", line)
			}
		})
	}
}

// logLine returns the access log's line for a request, which is written after the response.
func logLine(t *testing.T, log *buffer, id string) string {
	t.Helper()
	for range 100 {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "msg=request ") && strings.Contains(line, "request_id="+id) {
				return line
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("no line for %s", id)
	return ""
}

func TestAccessLogAtLevelErrorHasFaults(t *testing.T) {
	g := newChainFixture(t)
	g.openProvider(t)
	var log buffer
	settings := server.DefaultSettings()
	chain := server.New(server.Config{
		Resource: g.resource, Settings: settings, RequiredScopes: []string{"mcp:use"},
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})),
	}, g.provider, &application{})
	token := g.issuer.Sign(nil, g.issuer.Claims(g.resource.String()))
	for _, do := range []string{"nothing", "panic"} {
		r := request(g.resource, token)
		r.Header.Set("X-Do", do)
		chain.ServeHTTP(deadlineRecorder{httptest.NewRecorder()}, r)
		if got := strings.Contains(log.String(), "status=500"); got != (do == "panic") {
			t.Errorf("after %s the log says %q", do, log.String())
		}
	}
}
