package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/mcptools"
)

// The scripts in testdata/script show the program as a user sees it in a shell. They run the real binary, each in an
// empty directory and with an empty environment. $PORT_FREE and $PORT_OTHER are unused ports. The condition [demo]
// holds if the product has demo tools.
func TestScripts(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "gatehouse"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			for _, name := range []string{"PORT_FREE", "PORT_OTHER"} {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				_, port, _ := net.SplitHostPort(ln.Addr().String())
				ln.Close()
				env.Setenv(name, port)
			}
			return nil
		},
		Condition: func(condition string) (bool, error) {
			if condition != "demo" {
				return false, errors.New("unknown condition " + condition)
			}
			return hasDemoTools(), nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"ready": ready},
	})
}

// hasDemoTools reports whether the product has demo tools. Nothing but them depends on it.
func hasDemoTools() bool {
	return len(app.DefaultCatalog(mcptools.ToolSettings{Demo: true}, mcptools.Stats{}).Tools) >
		len(mcptools.All(mcptools.Stats{}))
}

// ready waits until a server is ready: ready localhost:3002. It listens before that.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready host:port")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get("http://" + args[0] + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	ts.Fatalf("no server is ready at %s", args[0])
}
