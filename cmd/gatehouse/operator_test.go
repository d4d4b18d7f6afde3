package main

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/telemetry"
)

// startWithOperator starts the server with a listener for operators, and returns the address of the status page.
func startWithOperator(t testing.TB, args ...string) (s *service, address, operator string) {
	t.Helper()
	s, address = startService(t, append([]string{
		"serve", "--resource=http://ADDRESS/mcp", "--operator.listen=127.0.0.1:0", "--provider.signing_algorithm=ES256",
	}, args...)...)
	listens := regexp.MustCompile(`msg="serving operators" listen=(\S+)`)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := listens.FindStringSubmatch(s.stderr.String()); found != nil {
			return s, address, "http://" + found[1]
		}
	}
	t.Fatal("the log does not say where the listener is")
	return nil, "", ""
}

// statusOf returns the document of /status.json.
func statusOf(t testing.TB, operator string) (status telemetry.OperatorStatus) {
	t.Helper()
	code, body := httpGet(t, operator+"/status.json")
	if err := json.Unmarshal([]byte(body), &status); err != nil || code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", code, err, body)
	}
	return status
}

// What operators see is not where clients are, and what clients use is not where operators are.
func TestOperator_ListensApartFromTheServer(t *testing.T) {
	t.Parallel()
	s, address, operator := startWithOperator(t)
	if banner := s.stdout.String(); !strings.Contains(banner, "  Status    "+operator+"/\n") {
		t.Errorf("the banner does not name %s:\n%s", operator, banner)
	}
	if strings.Contains(s.stderr.String(), "operator.listen is") {
		t.Error("a listener on loopback is a reason for a warning")
	}
	if code, body := httpGet(t, operator+"/"); code != http.StatusOK || !strings.Contains(body, "http://"+address+"/mcp") {
		t.Errorf("the page has status %d:\n%s", code, body)
	}
	status := statusOf(t, operator)
	if !status.Ready || status.NotReady != "" || len(status.Issuers) != 1 || !status.Issuers[0].Usable ||
		status.Issuers[0].Issuer != "http://"+address || status.Resource != "http://"+address+"/mcp" ||
		status.Config.Generation != 1 || len(status.Config.Digest) != 16 || status.Process.Goroutines == 0 ||
		status.Process.MemoryBytes < 1<<20 || status.Process.MemoryBytes > 1<<30 {
		t.Errorf("the status is %+v", status)
	}
	for _, path := range []string{"/mcp", "/health", "/readyz", "/.well-known/oauth-protected-resource/mcp", "/authorize"} {
		if code, _ := httpGet(t, operator+path); code != http.StatusNotFound {
			t.Errorf("the operator's listener answers %s with %d", path, code)
		}
	}
	for _, path := range []string{"/", "/status.json", "/metrics"} {
		if code, body := httpGet(t, "http://"+address+path); code < 400 || strings.Contains(body, "goroutines") {
			t.Errorf("the server answers %s with %d: %s", path, code, body)
		}
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := http.Get(operator); err == nil {
		t.Error("the listener outlives the server")
	}
}

// Other computers may reach the listener, which needs no token: the log says so, once.
func TestOperator_OnEveryAddressIsAWarning(t *testing.T) {
	t.Parallel()
	s, _, operator := startWithOperator(t, "--operator.listen=:0", "--operator.hosts=server")
	if n := strings.Count(s.stderr.String(), "level=WARN msg=\"operator.listen is :0"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, s.stderr)
	}
	port := operator[strings.LastIndexByte(operator, ':'):]
	if !strings.Contains(s.stdout.String(), "  Status    http://localhost"+port+"/\n") {
		t.Errorf("the banner does not name the port %s:\n%s", port, s.stdout)
	}
	for host, want := range map[string]int{
		"server" + port: http.StatusOK, "localhost" + port: http.StatusOK, "evil.example" + port: http.StatusForbidden,
	} {
		r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1"+port+"/status.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host, r.Close = host, true
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %s: status %d", host, resp.StatusCode)
		}
	}
}

// During a stop, an operator sees that the server drains, and which calls are still in flight.
func TestOperator_AnswersUntilTheDrainHasEnded(t *testing.T) {
	t.Parallel()
	s, _, operator := startWithOperator(t, "--server.drain_time=700ms")
	ended := make(chan int, 1)
	go func() { ended <- s.stop() }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	began, stopping, last := time.Now(), 0, time.Duration(0)
	for len(ended) == 0 && time.Since(began) < 10*time.Second {
		resp, err := client.Get(operator + "/status.json")
		if err == nil {
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && strings.Contains(string(body), `"not_ready": "stopping"`) {
				stopping, last = stopping+1, time.Since(began)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if stopping < 5 || last < 650*time.Millisecond {
		t.Errorf("%d answers said that the server stops, the last one %s after the signal", stopping, last)
	}
}

// A client of the operator's listener does not delay the end of the process.
func TestOperator_DoesNotDelayTheStop(t *testing.T) {
	t.Parallel()
	s, _, operator := startWithOperator(t, "--server.drain_time=0s", "--server.shutdown_timeout=100ms")
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(operator) // the body is not read, and the connection stays open
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	began := time.Now()
	if code := s.stop(); code != exitOK || time.Since(began) > 2*time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(began))
	}
}
