package broker

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCost measures the CPU time of a process of gatehouse per call, with kind local and with kind broker in turn, and
// per refresh. The numbers are notes: they depend on the machine.
func TestCost(t *testing.T) {
	needPrograms(t, *scripts)
	rounds, requests := 1, 10
	if long {
		rounds, requests = 15, 2000
	}
	w := newWorld(t, inFile)
	r := w.startReplica(t, "--log.level=warn")
	brokered := w.signIn(t, "alice")
	local := startLocal(t, w)
	brokered.keep(t, r.address)
	local.grant.keep(t, local.address)
	var ratios []float64
	for range rounds {
		ours := cpuOf(t, r.process, requests, func() { wantCall(t, brokered, r.address) })
		theirs := cpuOf(t, local.process, requests, func() { wantCall(t, local.grant, local.address) })
		ratios = append(ratios, float64(ours)/float64(theirs))
	}
	slices.Sort(ratios)
	t.Logf("note: CPU time of a call %.2f (%.2f to %.2f) of that with kind local", ratios[rounds/2], ratios[rounds/4],
		ratios[rounds-1-rounds/4])
	perRefresh := cpuOf(t, r.process, requests, func() { brokered.mustRefresh(t, r.address) })
	t.Logf("note: %s of CPU time per refresh", perRefresh.Round(time.Microsecond))
	if w.upstream.asked() > 1 { // in the first minute it is not asked at all
		t.Errorf("the provider was asked %d times", w.upstream.asked())
	}
}

func wantCall(t *testing.T, g *grant, address string) {
	t.Helper()
	if status := g.call(t, address); status != http.StatusOK {
		t.Fatalf("a call answers %d", status)
	}
}

// localServer is gatehouse with kind local and the same settings.
type localServer struct {
	*process
	address string
	grant   *grant
}

func startLocal(t *testing.T, w *world) *localServer {
	t.Helper()
	address := freeAddress(t)
	other := &world{t: t, dir: t.TempDir(), seen: w.seen, front: &front{address: address, seen: w.seen},
		resource: "http://" + address + "/mcp", environ: w.environ[2:]} // the key of the audit log
	p := other.run([]string{"serve", "--server.listen=" + address, "--resource=" + other.resource, "--mcp.era=stateless",
		"--provider.auto_approve", "--tools.demo", "--tools.show_all", "--telemetry.metrics=prometheus",
		"--operator.listen=" + freeAddress(t), "--audit.dir=" + other.dir, "--log.level=warn"})
	p.waitFor(t, "the server is ready", func() bool { return isReady("http://" + address + "/readyz") })
	return &localServer{p, address, other.signIn(t, "alice")}
}

// ticksPerSecond is the unit of the CPU times in /proc on Linux.
const ticksPerSecond = 100

// cpuOf returns the CPU time of a process for each of n requests.
func cpuOf(t *testing.T, p *process, n int, do func()) time.Duration {
	t.Helper()
	before := ticks(t, p)
	for range n {
		do()
	}
	return (ticks(t, p) - before) / time.Duration(n)
}

// ticks returns the user and system time of a process (proc(5), stat).
func ticks(t *testing.T, p *process) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("there is no /proc, which shows CPU time")
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	var sum time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n) * time.Second / ticksPerSecond
	}
	return sum
}
