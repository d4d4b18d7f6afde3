package main

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/providers/providertest"
)

// startWithOperator starts the server with a listener for operators, and returns the address of the status
// page.
func startWithOperator(t testing.TB, args ...string) (s *service, address, operator string) {
	t.Helper()
	return startWithOperatorIn(t, nil, append([]string{"--provider.signing_algorithm=ES256"}, args...)...)
}

func startWithOperatorIn(t testing.TB, environ []string, args ...string) (s *service, address, operator string) {
	t.Helper()
	s, address = startServiceIn(t, environ, append([]string{
		"serve", "--resource=http://ADDRESS/mcp", "--operator.listen=127.0.0.1:0",
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
	others := []string{"/mcp", "/health", "/readyz", "/.well-known/oauth-protected-resource/mcp", "/authorize"}
	for _, path := range others {
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

// Everything that a caller sends, and every secret, stays out of what operators see without a token.
func TestOperator_ShowsNothingAboutCallers(t *testing.T) {
	t.Parallel()
	const sentinel = "sEnTiNeL"
	authority := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	s, address, operator := startWithOperatorIn(t, []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=" + sentinel},
		"--provider.kind=oidc", "--provider.issuer="+authority.URL(), "--provider.jwks_url="+authority.KeysURL(),
		"--provider.introspection=opaque", "--provider.introspection_url="+authority.URL()+"/introspect",
		"--provider.client_id="+sentinel, "--scopes.required=mcp:use", "--tools.demo", "--log.level=debug")
	waitUntilReady(t, "http://"+address)
	resource := "http://" + address + "/mcp"
	token := authority.Token(resource, map[string]any{
		"sub": sentinel, "client_id": sentinel, "jti": sentinel, "name": sentinel, "scope": "mcp:use greet:read " + sentinel,
	})
	post := func(token, body string, header map[string]string) response {
		return send(t, http.MethodPost, resource, token, body, header)
	}
	for _, name := range []string{"greet", sentinel} {
		body, header := callModern(name, `{"name":"`+sentinel+`"}`)
		header["User-Agent"], header["X-Request-Id"], header["X-Forwarded-For"] = sentinel, sentinel, sentinel
		header["Tracestate"], header["Baggage"] = "s="+sentinel, "s="+sentinel
		post(token, strings.ReplaceAll(body, `"name":"t"`, `"name":"`+sentinel+`"`), header)
		post(token+sentinel, body, header)
		post(sentinel, body, header) // it is introspected
		post(authority.Token(resource, map[string]any{"sub": sentinel, "aud": sentinel}), body, header)
		header["Origin"] = "http://" + sentinel + ".example"
		post(token, body, header)
	}
	session := post(token, strings.ReplaceAll(initializeBody, `"name":"`, `"name":"`+sentinel), nil).header
	body, header := callLegacy("greet", `{"name":"`+sentinel+`"}`, session.Get("Mcp-Session-Id"))
	post(token, body, header)
	post(token, rpc(sentinel, `{"`+sentinel+`":1}`), header)
	post(token, `{"`+sentinel, nil)
	send(t, http.MethodGet, "http://"+address+"/"+sentinel+"?"+sentinel, "", "", nil)
	send(t, sentinel, resource, token, "", nil)

	if log := s.stderr.String(); strings.Count(log, sentinel) < 10 {
		t.Errorf("the log does not show the traffic:\n%s", log)
	}
	// The metrics are gathered once a second.
	shows := func(text string) bool {
		_, metrics := httpGet(t, operator+"/metrics")
		return strings.Contains(metrics, text)
	}
	for began := time.Now(); !shows(`gen_ai_tool_name="greet"`) || !shows(`gen_ai_tool_name="_OTHER"`); {
		if time.Sleep(50 * time.Millisecond); time.Since(began) > 5*time.Second {
			t.Fatal("the metrics do not show the traffic")
		}
	}
	if status := statusOf(t, operator); status.Requests["ok"] < 3 || status.Traffic.Refused < 5 {
		t.Errorf("the status does not show the traffic: %+v", status)
	}
	signature := token[strings.LastIndexByte(token, '.')+1:]
	for _, path := range []string{"/", "/status.json", "/metrics"} {
		_, shown := httpGet(t, operator+path)
		for _, secret := range []string{sentinel, strings.ToLower(sentinel), signature, session.Get("Mcp-Session-Id")} {
			if strings.Contains(shown, secret) {
				t.Errorf("%s shows %s:\n%s", path, secret, shown)
			}
		}
	}
}
