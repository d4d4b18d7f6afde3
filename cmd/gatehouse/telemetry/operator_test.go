package telemetry_test

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/configs"
)

// newOperator returns a listener for the server of [healthy], changed by change.
func newOperator(t testing.TB, change func(*telemetry.OperatorConfig)) *telemetry.Operator {
	t.Helper()
	config := telemetry.OperatorConfig{
		Status: healthy, Metrics: prometheus.NewRegistry(), Reasons: configs.Reasons(),
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&config)
	}
	operator, err := telemetry.NewOperator(config)
	if err != nil {
		t.Fatal(err)
	}
	return operator
}

func request(t testing.TB, h http.Handler, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A web page whose name resolves to the listener could otherwise read it through the browser of an operator.
func TestOperator_Host(t *testing.T) {
	t.Parallel()
	operator := newOperator(t, func(c *telemetry.OperatorConfig) { c.Hosts = []string{"server", "Status.example.com"} })
	for host, allowed := range map[string]bool{
		"localhost": true, "localhost:9464": true, "LOCALHOST:9464": true,
		"127.0.0.1:9464": true, "192.0.2.7": true, "10.1.2.3:9464": true, "[::1]:9464": true, "[2001:db8::1]": true,
		"server:9464": true, "SERVER": true, "status.example.com": true,

		"": false, ":9464": false, "evil.example": false, "evil.example:9464": false,
		"localhost.evil.example": false, "evil.localhost": false, "localhost.": false,
		"127.0.0.1.evil.example:9464": false, "server.evil.example": false, "example.com": false,
		"0x7f.1": false, "2130706433": false, "[::1].evil.example": false, "server:9464:9464": false,
		"user@localhost": false, "evil.example,localhost": false,
	} {
		for _, path := range []string{"/", "/status.json", "/metrics", "/nothing"} {
			w := request(t, operator, http.MethodGet, host, path)
			if refused := w.Code == http.StatusForbidden; refused == allowed {
				t.Errorf("Host %q, %s: status %d", host, path, w.Code)
			}
			if !allowed && strings.Contains(w.Body.String(), "mcp.example.com") {
				t.Errorf("Host %q, %s: the answer says where the server is: %s", host, path, w.Body)
			}
		}
	}
}

func TestOperator_OnlyReads(t *testing.T) {
	t.Parallel()
	operator := newOperator(t, nil)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"} {
		for _, path := range []string{"/", "/status.json", "/metrics", "/-/reload", "/quitquitquit"} {
			w := request(t, operator, method, "localhost", path)
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: status %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, path := range []string{"/", "/status.json"} {
			if w := request(t, operator, method, "localhost", path); w.Code != http.StatusOK {
				t.Errorf("%s %s: status %d", method, path, w.Code)
			}
		}
	}
}

// net/http must not answer OPTIONS * itself.
func TestOperator_OptionsOfTheWholeServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	operator := newOperator(t, nil)
	operator.Start(ln)
	t.Cleanup(operator.Stop)
	for host, want := range map[string]string{"evil.example": " 403 ", "localhost": " 405 "} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if status, _ := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(status, want) {
			t.Errorf("%s: %q, want%s", host, status, want)
		}
	}
}

// Paths of other programs' listeners for operators, of the profiler, and of the MCP endpoint.
func TestOperator_OtherPathsDoNotExist(t *testing.T) {
	t.Parallel()
	operator := newOperator(t, nil)
	for _, path := range []string{
		"/debug/pprof/", "/debug/vars", "/debug/pprof/cmdline", "/mcp", "/health", "/readyz", "/config",
		"/.well-known/oauth-protected-resource", "/status.json/", "//", "/metrics/x", "/index.html", "/favicon.ico",
	} {
		if w := request(t, operator, http.MethodGet, "localhost", path); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
}

func TestOperator_Headers(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_ready", Help: "Ready."}))
	operator := newOperator(t, func(c *telemetry.OperatorConfig) { c.Metrics = metrics })
	for path, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/status.json": "application/json", "/nothing": "text/plain; charset=utf-8",
		"/metrics": "text/plain; version=0.0.4; charset=utf-8",
	} {
		for _, host := range []string{"localhost", "evil.example"} {
			header := request(t, operator, http.MethodGet, host, path).Header()
			if host == "localhost" && header.Get("Content-Type") != contentType {
				t.Errorf("%s has the type %q", path, header.Get("Content-Type"))
			}
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY",
				"Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := header.Get(name); got != want {
					t.Errorf("%s at %s: %s is %q", path, host, name, got)
				}
			}
			policy := header.Get("Content-Security-Policy")
			for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'none'"} {
				if !strings.Contains(policy, want) {
					t.Errorf("%s at %s: the policy %q lacks %s", path, host, policy, want)
				}
			}
			if strings.Contains(policy, "script-src") || strings.Contains(policy, "unsafe") {
				t.Errorf("%s at %s: the policy is %q", path, host, policy)
			}
			if header.Get("Referrer-Policy") == "" || header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s at %s: the headers are %v", path, host, header)
			}
		}
	}
}

func TestOperator_MetricsAreInTheTextFormat(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_requests_total", Help: "Requests."},
		[]string{"gatehouse_outcome"})
	metrics.MustRegister(requests)
	requests.WithLabelValues("ok").Add(3)
	operator := newOperator(t, func(c *telemetry.OperatorConfig) { c.Metrics = metrics })
	want := "# HELP gatehouse_requests_total Requests.\n# TYPE gatehouse_requests_total counter\n" +
		`gatehouse_requests_total{gatehouse_outcome="ok"} 3` + "\n"
	if w := request(t, operator, http.MethodGet, "localhost", "/metrics"); w.Body.String() != want {
		t.Errorf("status %d, %q", w.Code, w.Body)
	}
	operator = newOperator(t, func(c *telemetry.OperatorConfig) { c.Metrics = nil })
	w := request(t, operator, http.MethodGet, "localhost", "/metrics")
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "telemetry.metrics") {
		t.Errorf("without metrics: status %d, %q", w.Code, w.Body)
	}
}

// countingGatherer counts how often metrics are gathered.
type countingGatherer struct {
	prometheus.Gatherer
	gathered int
}

func (g *countingGatherer) Gather() ([]*dto.MetricFamily, error) {
	g.gathered++
	return g.Gatherer.Gather()
}

// The page takes more CPU time than a call, and strangers can ask for it as fast as the network allows.
func TestOperator_MakesAnAnswerOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		made := 0
		operator := newOperator(t, func(c *telemetry.OperatorConfig) {
			c.Status = func() app.Status { made++; return healthy() }
		})
		paths := []string{"/", "/?refresh=off", "/status.json"}
		texts := map[string]string{}
		for range 100 {
			for _, path := range append(paths, "/?x", "/?refresh=on") {
				w := request(t, operator, http.MethodGet, "localhost", path)
				if texts[path] == "" {
					texts[path] = w.Body.String()
				}
				if w.Code != http.StatusOK || w.Body.String() != texts[path] || w.Header().Get("Content-Type") == "" {
					t.Fatalf("%s: %d %s", path, w.Code, w.Body)
				}
			}
		}
		if made != len(paths) {
			t.Errorf("%d answers were made, want %d", made, len(paths))
		}
		if texts["/"] == texts["/?refresh=off"] {
			t.Error("the page does not stop refreshing")
		}
		time.Sleep(time.Second)
		request(t, operator, http.MethodGet, "localhost", "/status.json")
		if made != len(paths)+1 {
			t.Error("an old answer is sent")
		}
	})
}

// Requests of a stranger must not cost the collection of all metrics each time.
func TestOperator_GathersOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		metrics := &countingGatherer{Gatherer: prometheus.NewRegistry()}
		operator := newOperator(t, func(c *telemetry.OperatorConfig) { c.Metrics = metrics })
		for range 3 {
			for _, path := range []string{"/", "/metrics", "/status.json", "/", "/metrics"} {
				request(t, operator, http.MethodGet, "localhost", path)
			}
			time.Sleep(time.Second)
		}
		if metrics.gathered != 3 {
			t.Errorf("gathered %d times in three seconds", metrics.gathered)
		}
	})
}

// pipeListener is a listener without a network.
type pipeListener struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9464} }

// peerConn is a connection from an address.
type peerConn struct {
	net.Conn
	peer net.Addr
}

func (p peerConn) RemoteAddr() net.Addr { return p.peer }

// dial connects, sends text, and returns what ended receives: what the server sent until it closed the
// connection.
func (p *pipeListener) dial(t *testing.T, from byte, text string) (ended <-chan string) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	p.accepted <- peerConn{far, &net.TCPAddr{IP: net.IPv4(192, 0, 2, from), Port: 1}}
	go func() { _, _ = io.WriteString(near, text) }()
	closed := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(bufio.NewReader(near))
		closed <- string(all)
	}()
	synctest.Wait()
	return closed
}

// A client that does not finish what it began loses its connection.
func TestOperator_Timeouts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sent   string
		within time.Duration
	}{
		"nothing is sent":           {"", 5 * time.Second},
		"a header without its end":  {"GET / HTTP/1.1\r\nHost: localhost\r\n", 5 * time.Second},
		"a body without its end":    {"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1", 6 * time.Second},
		"a body of another method":  {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1", 6 * time.Second},
		"nothing after an answer":   {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", time.Minute},
		"a header that is too long": {"GET / HTTP/1.1\r\nA: " + strings.Repeat("a", 100<<10), time.Second},
		"too many fields":           {"GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 1000), 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				operator, ln := newOperator(t, nil), newPipeListener()
				operator.Start(ln)
				defer operator.Stop()
				began := time.Now()
				<-ln.dial(t, 1, c.sent)
				if took := time.Since(began); took > c.within {
					t.Errorf("the connection was closed after %s", took)
				}
			})
		})
	}
}

// Clients that occupy connections, from one address or many, do not keep an operator out.
func TestOperator_ConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]func(i int) byte{
		"from one address":       func(int) byte { return 1 },
		"from different ones":    func(i int) byte { return byte(i % 200) },
		"the operator's address": func(int) byte { return 250 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := &strings.Builder{}
				operator, ln := newOperator(t, func(c *telemetry.OperatorConfig) {
					c.Logger = slog.New(slog.NewTextHandler(log, nil))
				}), newPipeListener()
				operator.Start(ln)
				defer operator.Stop()
				for i := range 500 {
					ln.dial(t, from(i), "GET / HTTP/1.1\r\nHost: localhost\r\n")
				}
				answer := <-ln.dial(t, 250, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				if !strings.HasPrefix(answer, "HTTP/1.1 200 OK") {
					t.Errorf("the operator was answered %.200q", answer)
				}
				lines := strings.Count(log.String(), "connections closed at a limit")
				if lines != 1 || !strings.Contains(log.String(), "listener=operator.listen") {
					t.Errorf("the log has %d lines about it:\n%s", lines, log)
				}
			})
		})
	}
}

// The process has little time left when the listener stops.
func TestOperator_StopDoesNotWaitForClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		operator, ln := newOperator(t, nil), newPipeListener()
		operator.Start(ln)
		for _, text := range []string{
			"", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1",
		} {
			ln.dial(t, 1, text)
		}
		began := time.Now()
		operator.Stop()
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Errorf("it stopped after %s", took)
		}
		operator.Stop() // again, which does nothing
	})
}

// A status that takes long must not keep the process from ending.
func TestOperator_StopDoesNotWaitForAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hangs atomic.Bool
		operator, ln := newOperator(t, func(c *telemetry.OperatorConfig) {
			c.Status = func() app.Status {
				if hangs.Load() {
					<-release
				}
				return healthy()
			}
		}), newPipeListener()
		operator.Start(ln)
		hangs.Store(true)
		time.Sleep(time.Minute) // the counters are sampled
		ln.dial(t, 1, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		began := time.Now()
		operator.Stop()
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Errorf("it stopped after %s", took)
		}
		close(release)
	})
}
