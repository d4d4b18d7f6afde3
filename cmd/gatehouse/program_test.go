package main

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The program that the README of package house shows compiles in a module of its own, with a replace. Linking takes
// seconds, so it is built and run with GATEHOUSE_LONG only.
func TestOtherModule_ProgramOfREADME(t *testing.T) {
	repository, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	// What `go mod edit` and `go mod tidy` write, without a download.
	text := strings.Replace(string(mod), "module gatehouse\n", "module example.com/tools\n", 1) +
		"\nrequire gatehouse v0.0.0\n\nreplace gatehouse => " + repository + "\n"
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("app/testdata/program/main.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"go.mod": text, "go.sum": string(sums), "main.go": string(program)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	goTool := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if os.Getenv("GATEHOUSE_LONG") == "" {
		goTool("vet", ".")
		return
	}
	goTool("build", "-o", "tools", ".")

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "tools"))
	cmd.Dir = dir
	var out syncBuffer
	cmd.Stderr = &out
	cmd.Env = []string{"GATEHOUSE_RESOURCE=http://" + address + "/mcp", "GATEHOUSE_SERVER__DRAIN_TIME=0s"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := false
	for begun := time.Now(); !ready && time.Since(begun) < 10*time.Second; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			ready = resp.StatusCode == http.StatusOK
			resp.Body.Close()
		}
	}
	if !ready {
		t.Errorf("it is not ready after 10 s")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil || t.Failed() {
		t.Errorf("it ended with %v:\n%s", err, &out)
	}
	http.DefaultClient.CloseIdleConnections()
}
