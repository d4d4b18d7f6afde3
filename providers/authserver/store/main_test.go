package store_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
)

// childPath makes the test binary a process that writes to a file until it is killed.
const childPath = "GATEHOUSE_STORE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		writeUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}

// child is another process that has a file open.
type child struct {
	command *exec.Cmd
	lines   *bufio.Scanner
	input   io.Closer
}

// startChild starts the process and returns when it has the file open.
func startChild(t *testing.T, path string) *child {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), childPath+"="+path)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	input, err := command.StdinPipe() // the child ends with it, also if the test is killed
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{command, bufio.NewScanner(output), input}
	t.Cleanup(c.kill)
	if !c.lines.Scan() || c.lines.Text() != "open" {
		t.Fatalf("the process says %q", c.lines.Text())
	}
	return c
}

// kill ends the process at once, as kill -9 does.
func (c *child) kill() {
	_ = c.command.Process.Kill()
	_ = c.command.Wait()
}
