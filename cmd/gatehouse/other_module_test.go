package main

import (
	"context"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/providertest"
)

// otherModule is a module that imports this one with a replace.
type otherModule struct{ dir string }

// newOtherModule writes the module example.com/tools: the programs of cmd/gatehouse/app/README.md, and the provider and
// the harness of CONTRIBUTING.md in its package acme.
func newOtherModule(t *testing.T) otherModule {
	t.Helper()
	repository, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	// What `go mod edit` and `go mod tidy` write, without a download.
	mod := strings.Replace(read(t, "go.mod"), "module gatehouse\n", "module example.com/tools\n", 1) +
		"\nrequire gatehouse v0.0.0\n\nreplace gatehouse => " + repository + "\n"
	const example = "providers/providertest/acme"
	harness := strings.ReplaceAll(read(t, example+"/acme_test.go"), `"gatehouse/`+example+`"`, `"example.com/tools/acme"`)
	m := otherModule{t.TempDir()}
	for name, content := range map[string]string{
		"go.mod":            mod,
		"go.sum":            read(t, "go.sum"),
		"main.go":           read(t, "cmd/gatehouse/app/testdata/program/main.go"),
		"server/main.go":    read(t, "cmd/gatehouse/app/testdata/provider/main.go"),
		"acme/acme.go":      read(t, example+"/acme.go"),
		"acme/acme_test.go": harness,
	} {
		path := filepath.Join(m.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// goTool runs the go command in the module, without network access.
func (m otherModule) goTool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// A program in another module can serve tools and a provider of its own. Both compile here; linking and the suite of
// the providers take many seconds.
func TestOtherModule_ProgramsCompile(t *testing.T) {
	t.Parallel()
	newOtherModule(t).goTool(t, "vet", "./...")
}

func TestOtherModule_ProgramsRunAndProviderConforms(t *testing.T) {
	if os.Getenv("GATEHOUSE_LONG") == "" {
		t.Skip("it links three programs; set GATEHOUSE_LONG=1")
	}
	t.Parallel()
	m := newOtherModule(t)
	m.goTool(t, "build", "-o", "bin/", ".", "./server")

	t.Run("its provider passes the suite", func(t *testing.T) {
		t.Parallel()
		m.goTool(t, "test", "./acme")
	})
	t.Run("its tools are served", func(t *testing.T) {
		t.Parallel()
		m.serve(t, "tools", nil, func(url string) {
			session, err := connect(t, url, modern, &user{name: "alice", decision: "approve"}, dynamicClient)
			if err != nil {
				t.Fatal(err)
			}
			result, err := call(t, session, "twice", map[string]any{"N": 21})
			if err != nil || !strings.Contains(textOf(result), "42") {
				t.Errorf("twice returned %+v, %v", result, err)
			}
		})
	})
	t.Run("its provider is in force", func(t *testing.T) {
		t.Parallel()
		acme := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
		settings := map[string]string{
			"PROVIDER__KIND": "acme", "PROVIDER__TENANT": acme.URL(), "PROVIDER__API": "api-123",
		}
		m.serve(t, "server", settings, func(url string) {
			claims := acme.Claims("api-123")
			claims["azp"] = "web"
			list := modernRequest("tools/list", "")
			for typ, want := range map[string]int{"JWT": http.StatusOK, "at+jwt": http.StatusUnauthorized} {
				token := acme.Sign(map[string]any{"typ": typ}, claims)
				if r := send(t, http.MethodPost, url, token, list.body, list.header); r.status != want {
					t.Errorf("a token with typ %s: %d %s, want %d", typ, r.status, r.body, want)
				}
			}
		})
	})
}

// serve runs a program of the module with settings until use returns, and expects that it stops gracefully.
func (m otherModule) serve(t *testing.T, program string, settings map[string]string, use func(url string)) {
	t.Helper()
	address := freeAddress(t)
	all := map[string]string{"RESOURCE": "http://" + address + "/mcp", "SERVER__DRAIN_TIME": "0s"}
	maps.Copy(all, settings)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(m.dir, "bin", program))
	cmd.Dir, cmd.Env = t.TempDir(), []string{}
	for name, value := range all {
		cmd.Env = append(cmd.Env, "GATEHOUSE_"+name+"="+value)
	}
	var out syncBuffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("it ended with %v:\n%s", err, &out)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		if resp, err := client.Get("http://" + address + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				use("http://" + address + "/mcp")
				return
			}
		}
	}
	t.Error("it did not become ready")
}
