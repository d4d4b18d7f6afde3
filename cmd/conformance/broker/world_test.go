// Package broker contains tests only. They run gatehouse with provider.kind broker as it is shipped, several processes
// of it, with a real identity provider (idp.mjs) and a real Redis. ../broker.sh installs these and runs the tests.
package broker

import (
	"context"
	"crypto/rand"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/providers/authserver/seal"
)

var (
	program = flag.String("gatehouse", "", "the program gatehouse")
	scripts = flag.String("scripts", "", "the folder of idp.mjs, which has a folder node_modules")
	redis   = flag.String("redis", "", "the program redis-server")
	long    = os.Getenv("GATEHOUSE_LONG") != ""
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func needPrograms(t *testing.T, paths ...string) {
	t.Helper()
	if slices.Contains(append(paths, *program), "") {
		t.Skip("a program is missing: cmd/conformance/broker.sh installs them, and runs this test")
	}
}

// world is a company's provider, a store, and replicas of gatehouse with one resource.
type world struct {
	t        *testing.T // its processes end with this test, not with a subtest
	dir      string
	resource string // URL of the MCP endpoint
	upstream *upstream
	store    *redisServer // nil for a file
	front    *front
	replicas []*replica
	seen     *secrets
	settings []string // of every replica
	environ  []string
}

// newWorld starts everything but the replicas.
func newWorld(t *testing.T, kind storeKind) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), seen: newSecrets()}
	w.front = startFront(t, w.seen)
	w.resource = "http://" + w.front.address + "/mcp"
	secret := rand.Text() + "/+ %"
	w.seen.add("client secret", secret)
	secretFile := w.file(t, "client-secret", secret)
	w.upstream = startUpstream(t, w.seen, secretFile, "http://"+w.front.address+"/callback")
	sealing := seal.NewSecret()
	w.seen.add("secret of secrets_file", sealing)
	w.settings = []string{"--provider.kind=broker", "--resource=" + w.resource,
		"--provider.issuer=" + w.upstream.issuer, "--provider.client_id=gatehouse",
		"--provider.upstream_scopes=openid,profile,email,offline_access", "--provider.authorize_params=prompt=consent",
		"--provider.scope_rules=groups=staff > mcp:use greet:read greet:write, groups=admins > gatehouse:admin",
		"--provider.recheck_interval=1m", "--provider.recheck_max_stale=1m",
		"--scopes.required=mcp:use", "--scopes.initial=mcp:use,greet:read",
		"--mcp.era=stateless", "--tools.demo", "--tools.show_all",
		"--telemetry.metrics=prometheus", "--log.level=debug"}
	w.environ = []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=" + secretFile,
		"GATEHOUSE_PROVIDER__SECRETS_FILE=" + w.file(t, "secrets", sealing)}
	auditKey := filepath.Join(w.dir, "audit-key")
	if out, err := exec.Command(*program, "audit", "key", auditKey).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	w.environ = append(w.environ, "GATEHOUSE_AUDIT__SIGNING_KEY_FILE="+auditKey)
	switch kind {
	case inFile:
		w.settings = append(w.settings, "--provider.store=file://"+filepath.Join(w.dir, "store", "sign-ins.db"))
		if err := os.Mkdir(filepath.Join(w.dir, "store"), 0o700); err != nil {
			t.Fatal(err)
		}
	case inRedis:
		w.store = startRedis(t, w.seen)
		w.environ = append(w.environ, "GATEHOUSE_PROVIDER__STORE_PASSWORD_FILE="+w.file(t, "store-password",
			w.store.password))
	}
	return w
}

type storeKind int

const (
	inFile storeKind = iota
	inRedis
)

func (w *world) file(t *testing.T, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func isReady(address string) bool {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(address)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not within 30 seconds: %s", what)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// storeDir is where the store has its files.
func (w *world) storeDir() string {
	if w.store != nil {
		return w.store.dir
	}
	return filepath.Join(w.dir, "store")
}

func get(t *testing.T, address string) []byte {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(address)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %s, %v", address, resp.Status, err)
	}
	return body
}
