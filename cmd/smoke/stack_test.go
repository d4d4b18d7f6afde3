package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// The tests TestStack... run docker-compose.yml with a real container engine. Each starts the services that
// it needs. stack.sh runs them, and removes everything afterwards. They use the demo tools, which the stack
// enables.
var stack = flag.Bool("stack", false,
	"start and stop the compose stack of this repository with a container engine")

func needEngine(t *testing.T) {
	t.Helper()
	if !*stack {
		t.Skip("it needs a container engine: cmd/smoke/stack.sh finds one, and runs this test")
	}
}

// port returns a published port, which the environment may change: see .env.example.
func port(variable, standard string) string {
	if value := os.Getenv(variable); value != "" {
		return value
	}
	return standard
}

func serverURL() string { return "http://localhost:" + port("MCP_PORT", "3002") + "/mcp" }
func issuerURL() string { return "http://localhost:" + port("ISSUER_PORT", "9000") }
func edgeURL() string   { return "https://localhost:" + port("EDGE_PORT", "8443") + "/mcp" }

// docker runs a command in the root of the repository, with additional variables in its environment.
func docker(environ []string, args ...string) (stdout, stderr string, code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), environ...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out.String(), errs.String(), exit.ExitCode(), nil
	}
	return out.String(), errs.String(), 0, err
}

// run is docker for commands that must succeed.
func run(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	stdout, stderr, code, err := docker(environ, args...)
	if err != nil || code != 0 {
		t.Fatalf("docker %s: exit code %d, %v\n%s%s", strings.Join(args, " "), code, err, stdout, stderr)
	}
	return stdout
}

// up starts services as a user does, and waits until they are healthy.
func up(t *testing.T, environ []string, args ...string) {
	t.Helper()
	run(t, environ, append(args, "up", "--wait", "--quiet-pull")...)
}

// containers returns the IDs of a service's containers.
func containers(t *testing.T, service string) []string {
	t.Helper()
	return strings.Fields(run(t, nil, "compose", "--profile", "*", "ps", "--all", "--quiet", service))
}

// connect signs in as alice and opens a session.
func connect(t *testing.T, url, protocol string, network http.RoundTripper, progress func(string)) (*client,
	*mcp.ClientSession) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := &client{url: url, network: network, person: "alice", progress: progress}
	session, err := c.connect(ctx, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() }) // its replica may have ended
	return c, session
}

// token returns the access token that c would send now.
func (c *client) token(t *testing.T) string {
	t.Helper()
	source, err := c.oauth.TokenSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

// plainNetwork returns a transport for the published ports. ca is a file with certificates to trust, or empty.
func plainNetwork(t *testing.T, ca string) *http.Transport {
	t.Helper()
	network, err := newNetwork(nil, ca)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.CloseIdleConnections)
	return network
}

func TestStackStartsServerAndIssuerByOneCommand(t *testing.T) {
	needEngine(t)
	up(t, nil, "compose", "--progress", "quiet")
	network := plainNetwork(t, "")
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		_, session := connect(t, serverURL(), protocol, network, nil)
		me, err := call(t.Context(), session, "whoami", nil)
		if err != nil {
			t.Fatal(err)
		}
		audience, _ := me["audience"].([]any)
		// iss is the public address, although the server fetches the keys from another.
		if me["issuer"] != issuerURL() || me["subject"] != "alice" || !slices.Equal(audience, []any{serverURL()}) {
			t.Errorf("the server identifies the caller as %v", me)
		}
		if answer, err := call(t.Context(), session, "greet", map[string]any{"name": "Ada"}); err != nil ||
			answer["greeting"] != "Hello, Ada!" {
			t.Errorf("greet answered %v, %v", answer, err)
		}
	}
}

func TestStackSmokeContainerExitCodes(t *testing.T) {
	needEngine(t)
	stdout, stderr, code, err := docker(nil, "compose", "run", "--rm", "--no-TTY", "smoke")
	if err != nil || code != 0 || !strings.Contains(stdout, `"issuer":"`+issuerURL()+`"`) {
		t.Errorf("with everything up: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	// At an address other than the resource, the client finds metadata of another resource.
	stdout, stderr, code, err = docker([]string{"MCP_PORT=1"}, "compose", "run", "--rm", "--no-TTY",
		"--no-deps", "smoke")
	if err != nil || code != 1 || !strings.Contains(stderr, "smoke: ") {
		t.Errorf("with a wrong address: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
}

func TestStackUnreadableSecretStopsTheStart(t *testing.T) {
	needEngine(t)
	for _, c := range []struct {
		name string
		mode os.FileMode
		args []string
		code int
		want string
	}{
		{"a file that only its owner can read", 0o600, nil, 2, "provider.client_secret_file"},
		{"a file that the server's user can read", 0o444, []string{"config"}, 0, "/run/secrets/client_secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := errors.Join(os.WriteFile(path, []byte("hunter2\n"), c.mode),
				os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"compose", "run", "--rm", "--no-TTY", "--no-deps",
				"-e", "GATEHOUSE_PROVIDER__INTROSPECTION=opaque", "-e", "GATEHOUSE_PROVIDER__CLIENT_ID=gatehouse",
				"server"}, c.args...)
			stdout, stderr, code, err := docker([]string{"CLIENT_SECRET_FILE=" + path}, args...)
			if err != nil || code != c.code || !strings.Contains(stdout+stderr, c.want) ||
				strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
			}
		})
	}
}

func TestStackProviderIsSetByTheEnvironment(t *testing.T) {
	needEngine(t)
	const issuer, preset, profile = "GATEHOUSE_PROVIDER__ISSUER=https://acme.eu.auth0.com/",
		"GATEHOUSE_PROVIDER__PRESET=auth0", "GATEHOUSE_CONFIG=configs/oidc.yaml"
	for name, c := range map[string]struct {
		environ []string
		code    int
		want    []string
	}{
		"the demo issuer": {nil, 0, []string{"http://issuer:9000/keys"}},
		"this stack's Keycloak": {[]string{"GATEHOUSE_CONFIG=configs/compose/keycloak.yaml"}, 0,
			[]string{"http://localhost:8080/realms/gatehouse", "preset keycloak"}},
		"a preset and an issuer": {[]string{profile, preset, issuer}, 0,
			[]string{"https://acme.eu.auth0.com/", "preset auth0"}},
		"an issuer without a profile": {[]string{issuer}, 1, []string{"name the profile too"}},
		"a preset without a profile":  {[]string{preset}, 1, []string{"name the profile too"}},
		"a missing profile": {[]string{"GATEHOUSE_CONFIG=configs/nothing.yaml"}, 2,
			[]string{"the profile cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code, err := docker(c.environ, "compose", "run", "--rm", "--no-TTY", "--no-deps",
				"server", "config")
			if err != nil || code != c.code {
				t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("the output lacks %q:\n%s%s", want, stdout, stderr)
				}
			}
			if c.environ != nil && strings.Contains(stdout, "http://issuer:9000") {
				t.Errorf("the keys are those of the demo issuer:\n%s", stdout)
			}
		})
	}
}

// keyRefetchInterval is provider.key_refetch_interval in configs/compose/demo.yaml.
const keyRefetchInterval = 5 * time.Second

func TestStackTokensOfNewKeysAreAcceptedWithinTheInterval(t *testing.T) {
	needEngine(t)
	up(t, nil, "compose")
	network := plainNetwork(t, "")
	c, _ := connect(t, serverURL(), "", network, nil)
	old := c.token(t)
	if status := callOnce(t, network, serverURL(), old); status != http.StatusOK {
		t.Fatalf("the first token gets %d", status)
	}
	// A token with an unknown key makes the server fetch the keys just before they change: the worst case,
	// because it does not fetch again within the interval.
	fetched := time.Now()
	if status := callOnce(t, network, serverURL(), withAnotherKey(t, old)); status != http.StatusUnauthorized {
		t.Fatalf("a token with an unknown key gets %d", status)
	}
	run(t, nil, "compose", "restart", "issuer")

	c = &client{url: serverURL(), network: network, person: "alice"}
	for c.oauth == nil || !c.signedIn(t) {
		if time.Since(fetched) > 20*time.Second {
			t.Fatal("no sign-in succeeds at the restarted issuer")
		}
		time.Sleep(100 * time.Millisecond)
		// It fails until the issuer runs again, and with a token that the server does not accept yet.
		if session, err := c.connect(t.Context(), ""); err == nil {
			_ = session.Close()
		}
	}
	token, began := c.token(t), time.Now()
	for callOnce(t, network, serverURL(), token) != http.StatusOK {
		if time.Since(began) > keyRefetchInterval+2*time.Second {
			t.Fatalf("a token of the new keys is still refused after %s", time.Since(began))
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("a token of the new keys was accepted after %s, %s after the keys were fetched",
		time.Since(began).Round(time.Millisecond), time.Since(fetched).Round(time.Millisecond))
	// Within the interval its key is unknown: 503. After the next fetch it is known to be withdrawn: 401.
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		status := callOnce(t, network, serverURL(), old)
		if status == http.StatusUnauthorized {
			return
		}
		if status != http.StatusServiceUnavailable || time.Since(began) > 2*keyRefetchInterval+2*time.Second {
			t.Fatalf("a token of the old keys gets %d after %s, want 503 and then 401", status, time.Since(began))
		}
	}
}

// signedIn reports whether the client has a token, accepted by the server or not.
func (c *client) signedIn(t *testing.T) bool {
	source, err := c.oauth.TokenSource(t.Context())
	return err == nil && source != nil
}

// withAnotherKey returns token with the ID of a key that does not exist.
func withAnotherKey(t *testing.T, token string) string {
	t.Helper()
	header, rest, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(header)
	var members map[string]any
	if err = errors.Join(err, json.Unmarshal(raw, &members)); err != nil {
		t.Fatal(err)
	}
	members["kid"] = "unknown"
	raw, err = json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(raw) + "." + rest
}

// callOnce calls a tool with this token and returns the status.
func callOnce(t *testing.T, network http.RoundTripper, url, token string) int {
	t.Helper()
	status, _, err := send(t.Context(), network, url, token, "once-"+fmt.Sprint(time.Now().UnixNano()), "greet",
		`{"name":"Ada"}`)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func TestStackImageHasTheProductOnly(t *testing.T) {
	needEngine(t)
	var images []struct {
		Size   int64
		Config struct {
			User        string
			Entrypoint  []string
			Labels      map[string]string
			Healthcheck struct{ Test []string }
		}
	}
	if err := json.Unmarshal([]byte(run(t, nil, "image", "inspect", "gatehouse:local")), &images); err != nil {
		t.Fatal(err)
	}
	image := images[0]
	if image.Size > 40_000_000 {
		t.Errorf("it has %d bytes", image.Size)
	}
	if image.Config.User != "65532:65532" || !slices.Equal(image.Config.Healthcheck.Test,
		[]string{"CMD", "/usr/local/bin/gatehouse", "healthcheck"}) {
		t.Errorf("%+v", image.Config)
	}
	for _, label := range []string{"title", "description", "licenses"} {
		if image.Config.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("the label %s is missing: %v", label, image.Config.Labels)
		}
	}
	if _, _, code, err := docker(nil, "run", "--rm", "--network=none", "--entrypoint=/bin/sh",
		"gatehouse:local", "-c", "true"); err == nil && code == 0 {
		t.Error("it has a shell")
	}
	// Without a provider it would be a fake issuer for every client that reaches the container.
	_, stderr, code, err := docker(nil, "run", "--rm", "--network=none", "gatehouse:local")
	if err != nil || code != 2 || !strings.Contains(stderr, "server.listen") {
		t.Errorf("without a provider: exit code %d, %v\n%s", code, err, stderr)
	}
}

var requestID = regexp.MustCompile(`request_id=(\S+)`)

// requests returns the IDs of the requests that a container has answered, from its log.
func requests(t *testing.T, container string) map[string]bool {
	t.Helper()
	stdout, stderr, code, err := docker(nil, "logs", container)
	if err != nil || code != 0 {
		t.Fatalf("docker logs: exit code %d, %v", code, err)
	}
	ids := map[string]bool{}
	for _, match := range requestID.FindAllStringSubmatch(stdout+stderr, -1) {
		ids[match[1]] = true
	}
	return ids
}
