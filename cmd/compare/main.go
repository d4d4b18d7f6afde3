// Command compare measures over loopback what the server costs, beside the same tool on the bare handler of the MCP SDK and
// beside net/http with a canned answer. Each pair is loaded alternately in short slices, server on one core and load on another,
// and what is compared is the CPU time of the server's process per request: a ratio of neighbours, which a noisy or another
// machine disturbs least.
//
// It needs Linux, for the times of other processes. From the root of the repository:
//
//	go run ./cmd/compare
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// settings of a run.
type settings struct {
	rounds      int
	slice       time.Duration
	connections int
	only        string
	product     string // the programs that are loaded
	baseline    string
}

func main() {
	// A pipe that nobody reads any more would end this program at once, and leave the servers running.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGPIPE)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, pflag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "compare:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var s settings
	flags := pflag.NewFlagSet("compare", pflag.ContinueOnError)
	gate := flags.String("gate", "", "be the gate alone, and listen at this address")
	issuer := flags.String("issuer", "", "whose tokens the gate takes")
	flags.IntVar(&s.rounds, "rounds", 9, "pairs of slices for each row")
	flags.DurationVar(&s.slice, "slice", 1500*time.Millisecond, "how long a slice is")
	flags.IntVar(&s.connections, "connections", 8, "connections that load a server")
	flags.StringVar(&s.only, "only", "", "rows whose name contains this; memory, median and cold start are such names too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag, and nothing else is read", flags.Arg(0))
	}
	if s.rounds < 1 || s.connections < 1 || s.slice < time.Millisecond {
		return errors.New("--rounds and --connections must be at least 1, and --slice at least 1ms")
	}
	if *gate != "" {
		return serveGate(ctx, *gate, *issuer)
	}
	if runtime.GOOS != "linux" {
		return errors.New("the times of other processes are read as Linux shows them")
	}
	if err := pin(); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder, "./cmd/gatehouse", "./cmd/compare/baseline")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("the servers do not build: %w", err)
	}
	s.product, s.baseline = filepath.Join(folder, "gatehouse"), filepath.Join(folder, "baseline")
	return compare(ctx, s, os.Stdout)
}

// pin begins this program anew on the second core, so that the load takes nothing from the servers on the first.
func pin() error {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return nil // it is measured all the same, with more noise
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(taskset, append([]string{taskset, "-c", "1", self}, os.Args[1:]...), os.Environ())
}
