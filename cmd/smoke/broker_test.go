package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
)

// The person approves at the broker, and signs in at the provider of a company: here a demo issuer, which knows the
// broker as its client.
func TestSmokeSignsInThroughTheBroker(t *testing.T) {
	const secret = "hunter2-hunter2"
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	company := "http://" + ln.Addr().String()
	issuer, err := authserver.New(authserver.Config{
		Issuer: company, Resources: []string{"http://localhost:3002/mcp"},
		Clients: []authserver.Client{{ID: "gatehouse", Secret: secret,
			RedirectURIs: []string{"http://localhost:3002/callback"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: issuer.Handler()}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })

	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte(seal.NewSecret()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	connectTo := startServer(t, map[string]string{
		"provider.kind": "broker", "provider.issuer": company, "provider.client_id": "gatehouse",
		"provider.client_secret": secret, "provider.secrets_file": secrets,
	})
	var stdout, stderr strings.Builder
	if code := command(t.Context(), []string{"--connect-to=" + connectTo, "--tool=caller", "--person=bob"},
		&stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, &stderr, &stdout)
	}
	for _, want := range []string{
		"POST http://localhost:3002/consent  200 OK\n", "GET  " + company + "/authorize  ",
		"POST " + company + "/consent  ", "GET  http://localhost:3002/callback  302 Found\n", `{"subject":"bob"}`,
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &stdout)
		}
	}
}
