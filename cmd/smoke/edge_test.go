package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// upEdge starts the replicas and the edge, and returns a transport that trusts the edge. era is mcp.era;
// empty means the default of the stack.
func upEdge(t *testing.T, era string) *http.Transport {
	t.Helper()
	up(t, []string{"GATEHOUSE_MCP__ERA=" + era}, "compose", "--profile", "tls")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	run(t, nil, "compose", "--profile", "tls", "cp", "edge:/data/caddy/pki/authorities/local/root.crt", ca)
	return plainNetwork(t, ca)
}

func TestStackSmokeContainerSucceedsThroughTheEdge(t *testing.T) {
	needEngine(t)
	upEdge(t, "")
	stdout, stderr, code, err := docker(nil, "compose", "--profile", "tls", "run", "--rm", "--no-TTY",
		"smoke-tls")
	if err != nil || code != 0 || !strings.Contains(stdout, `"audience":["`+edgeURL()+`"]`) {
		t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
}

func TestStackReplicasShareTheCallsAndLogTheClient(t *testing.T) {
	needEngine(t)
	network := upEdge(t, "")
	c, _ := connect(t, edgeURL(), "", network, nil)
	token := c.token(t)
	for i := range 40 {
		if status, body, err := send(t.Context(), network, edgeURL(), token, fmt.Sprintf("share-%04d", i),
			"greet", `{"name":"Ada"}`); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	edge := strings.Fields(run(t, nil, "inspect", "-f",
		"{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", containers(t, "edge")[0]))
	for _, replica := range containers(t, "replica") {
		served := 0
		for id := range requests(t, replica) {
			if strings.HasPrefix(id, "share-") {
				served++
			}
		}
		t.Logf("one replica served %d of 40", served)
		if served == 0 {
			t.Error("a replica served no call")
		}
		log, more, _, _ := docker(nil, "logs", replica)
		for _, address := range edge {
			if strings.Contains(log+more, "ip="+address+" ") {
				t.Errorf("the log has the edge (%s) as the client", address)
			}
		}
	}
}

func TestStackEdgeForwardsEventsOneByOne(t *testing.T) {
	needEngine(t)
	network := upEdge(t, "")
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(protocol, func(t *testing.T) {
			var mu sync.Mutex
			var received []time.Time
			_, session := connect(t, edgeURL(), protocol, network, func(string) {
				mu.Lock()
				defer mu.Unlock()
				received = append(received, time.Now())
			})
			if _, err := call(t.Context(), session, "countdown", map[string]any{"seconds": 3}); err != nil {
				t.Fatal(err)
			}
			ended := time.Now()
			mu.Lock()
			defer mu.Unlock()
			if len(received) < 2 || ended.Sub(received[0]) < 1500*time.Millisecond {
				t.Errorf("the call ended at %s; progress notifications arrived at %v", ended, received)
			}
		})
	}
}

// A call ends when its client closes the connection, even if the tool sends nothing: it counts against the
// caller's limits, and may have effects.
func TestStackClosedConnectionAtTheEdgeEndsTheCall(t *testing.T) {
	needEngine(t)
	network := upEdge(t, "")
	c, _ := connect(t, edgeURL(), "", network, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if _, _, err := send(ctx, network, edgeURL(), c.token(t), "closed-0001", "countdown",
		`{"seconds":60}`); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the call ended before its timeout: %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		for _, replica := range containers(t, "replica") {
			if requests(t, replica)["closed-0001"] {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the call still runs")
		}
	}
}

func TestStackKilledReplicaLosesOnlyItsCallsInFlight(t *testing.T) {
	needEngine(t)
	network := upEdge(t, "")
	c, _ := connect(t, edgeURL(), "", network, nil)
	replicas := containers(t, "replica")
	victim, survivors := replicas[0], replicas[1:]

	l := startTraffic(t, network, edgeURL(), c.token(t))
	time.Sleep(3 * time.Second)
	killing := time.Now()
	run(t, nil, "kill", "--signal=KILL", victim)
	time.Sleep(8 * time.Second)
	attempts := l.stop()
	// docker kill returns some time after the process has ended, so the time is the engine's.
	dead, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(run(t, nil, "inspect", "-f",
		"{{.State.FinishedAt}}", victim)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("killed: %s", summary(attempts, dead))

	served := map[string]bool{}
	for _, survivor := range survivors {
		for id := range requests(t, survivor) {
			served[id] = true
		}
	}
	// A process does not end at once: on a busy machine it accepts calls, and loses them, until its last
	// connection is closed. So a caller may lose a second call, but none that began afterwards.
	failures := failed(attempts)
	for _, a := range failures {
		if a.began.After(dead.Add(50 * time.Millisecond)) {
			t.Errorf("a call failed that began %s after the replica had ended: %v", a.began.Sub(dead), a.failure)
		}
		if a.ended.Before(killing) {
			t.Errorf("a call failed before the replica was killed: %v", a.failure)
		}
		if served[a.id] {
			t.Errorf("a call failed that another replica served: %v", a.failure)
		}
	}
	if len(failures) == 0 {
		t.Fatal("no call was in flight on the replica, so the test proves nothing")
	}
	first := slices.MinFunc(failures, func(a, b attempt) int { return a.ended.Compare(b.ended) })
	t.Logf("the first call was lost %s before the replica had ended", dead.Sub(first.ended))
}

// A replica that is stopped, as in a deployment, finishes its calls. Caddy does not query its readiness, and
// sends it calls until its port is closed: those that connect at that moment may be lost, unserved.
func TestStackStoppedReplicaFinishesItsCalls(t *testing.T) {
	needEngine(t)
	network := upEdge(t, "")
	c, _ := connect(t, edgeURL(), "", network, nil)
	victim := containers(t, "replica")[0]
	l := startTraffic(t, network, edgeURL(), c.token(t))
	time.Sleep(2 * time.Second)
	run(t, nil, "stop", "--time=30", victim)
	stopped := time.Now()
	time.Sleep(4 * time.Second)
	attempts := l.stop()
	t.Logf("stopped: %s", summary(attempts, stopped))

	served := map[string]bool{}
	for _, replica := range containers(t, "replica") {
		for id := range requests(t, replica) {
			served[id] = true
		}
	}
	failures := failed(attempts)
	for _, a := range failures {
		if served[a.id] || a.began.After(stopped) {
			t.Errorf("a call failed that was served (%t), or began %s after the replica had stopped: %v",
				served[a.id], a.began.Sub(stopped), a.failure)
		}
	}
	if len(failures)*200 > len(attempts) {
		t.Errorf("%d of %d calls failed", len(failures), len(attempts))
	}
	if code := strings.TrimSpace(run(t, nil, "inspect", "-f", "{{.State.ExitCode}}", victim)); code != "0" {
		t.Errorf("its exit code is %s", code)
	}
}

// labelled is a transport that puts the label of its client into the request IDs, which the replicas log.
type labelled struct {
	next  http.RoundTripper
	label string
	mu    sync.Mutex
	n     int
}

func (l *labelled) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	l.n++
	id := fmt.Sprintf("%s-%04d", l.label, l.n)
	l.mu.Unlock()
	r = r.Clone(r.Context())
	r.Header.Set("X-Request-Id", id)
	return l.next.RoundTrip(r)
}

func TestStackSessionsStayAtTheirReplica(t *testing.T) {
	needEngine(t)
	network := upEdge(t, "dual")
	const clients = 12
	sessions := map[string]*mcp.ClientSession{}
	for i := range clients {
		label := fmt.Sprintf("session%02d", i)
		_, sessions[label] = connect(t, edgeURL(), "2025-11-25", &labelled{next: network, label: label}, nil)
	}
	for range 5 {
		for label, session := range sessions {
			if _, err := call(t.Context(), session, "greet", map[string]any{"name": "Ada"}); err != nil {
				t.Fatalf("%s: %v", label, err)
			}
		}
	}
	homes := map[string]string{}
	sessionsAt := map[string]int{}
	for _, replica := range containers(t, "replica") {
		for id := range requests(t, replica) {
			label, number, found := strings.Cut(id, "-")
			// The first two are the 401 before the sign-in and the metadata: they belong to no session.
			if sessions[label] == nil || !found || number <= "0002" {
				continue
			}
			if home, known := homes[label]; known && home != replica {
				t.Errorf("%s had two replicas", label)
			}
			if homes[label] == "" {
				sessionsAt[replica]++
			}
			homes[label] = replica
		}
	}
	if len(homes) != clients || len(sessionsAt) < 2 {
		t.Fatalf("%d sessions at %d replicas", len(homes), len(sessionsAt))
	}

	// A session ends with its replica. Its client gets the response after which clients open a new one; others
	// go on.
	victim := containers(t, "replica")[0]
	run(t, nil, "kill", "--signal=KILL", victim)
	for label, session := range sessions {
		_, err := call(t.Context(), session, "greet", map[string]any{"name": "Ada"})
		lost := homes[label] == victim
		if lost != (err != nil) || lost && !strings.Contains(err.Error(), "session not found") {
			t.Errorf("%s (on the killed replica: %t): %v", label, lost, err)
		}
	}
	_, session := connect(t, edgeURL(), "2025-11-25", network, nil)
	if _, err := call(t.Context(), session, "greet", map[string]any{"name": "Ada"}); err != nil {
		t.Error(err)
	}
}

func TestStackContainersAreConfined(t *testing.T) {
	needEngine(t)
	upEdge(t, "")
	up(t, nil, "compose", "--profile", "observability", "--profile", "broker")
	for service, memory := range map[string]string{"server": "268435456", "issuer": "268435456",
		"replica": "268435456", "edge": "268435456", "prometheus": "536870912",
		"broker": "268435456", "company": "268435456", "store": "268435456"} {
		for _, id := range containers(t, service) {
			got := strings.TrimSpace(run(t, nil, "inspect", "-f",
				"{{with .HostConfig}}{{.ReadonlyRootfs}} {{.CapDrop}} {{.SecurityOpt}} {{.RestartPolicy.Name}} "+
					"{{.PidsLimit}} {{.Memory}} {{.LogConfig.Config}}{{end}} {{.State.Health.Status}}", id))
			want := "true [ALL] [no-new-privileges:true] unless-stopped " +
				"256 " + memory + " map[max-file:3 max-size:10m] healthy"
			if got != want {
				t.Errorf("%s is %s\nwant %s", service, got, want)
			}
			for _, host := range strings.Fields(run(t, nil, "inspect", "-f",
				"{{range .HostConfig.PortBindings}}{{range .}}{{.HostIp}} {{end}}{{end}}", id)) {
				if host != "127.0.0.1" {
					t.Errorf("%s is published on %s", service, host)
				}
			}
		}
	}
}

// The stop does not wait for a call that takes longer than the grace period.
func TestStackStopsOnSIGTERMWithExitCode0(t *testing.T) {
	needEngine(t)
	network := upEdge(t, "")
	c, _ := connect(t, edgeURL(), "", network, nil)
	token, ended := c.token(t), make(chan struct{})
	go func() {
		defer close(ended)
		_, _, _ = send(context.Background(), network, edgeURL(), token, "slow-call-0001", "countdown",
			`{"seconds":60}`)
	}()
	time.Sleep(time.Second)
	began := time.Now()
	run(t, nil, "compose", "--profile", "tls", "stop")
	t.Logf("the stack stopped within %s", time.Since(began).Round(time.Millisecond))
	<-ended
	for _, service := range []string{"server", "issuer", "replica", "edge"} {
		for _, id := range containers(t, service) {
			if got := strings.TrimSpace(run(t, nil, "inspect", "-f",
				"{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", id)); got != "exited 0 false" {
				t.Errorf("%s: %s", service, got)
			}
		}
	}
}
