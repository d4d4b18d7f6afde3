// Command compare measures over loopback what the server costs, compared with the same tool on the bare
// handler of the MCP SDK, and with net/http and a canned response. The two servers of a row are loaded
// alternately in short slices, the server on one core and the load on another, and the CPU time of the
// server's process per request is compared: the ratio of adjacent slices depends least on the machine and on
// what else runs.
//
// With --relayed, it measures what a call of an upstream costs through the server, compared with a direct call of the
// same tool.
//
// It needs Linux, for the CPU times of other processes. From the root of the repository:
//
//	go run ./cmd/compare
//	go run ./cmd/compare --relayed
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

// settings are the command line.
type settings struct {
	rounds      int
	slice       time.Duration
	connections int
	only        string
	relayed     bool
	product     string // paths of the programs under load
	baseline    string
}

func main() {
	// Without a handler, SIGPIPE would end this program at once and leave the servers running.
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
	chain := flags.String("chain", "", "run as the chain alone, and listen on this address")
	issuer := flags.String("issuer", "", "issuer of the tokens that the chain accepts")
	flags.IntVar(&s.rounds, "rounds", 9, "pairs of slices for each row")
	flags.DurationVar(&s.slice, "slice", 1500*time.Millisecond, "duration of a slice")
	flags.IntVar(&s.connections, "connections", 8, "connections to a server under load")
	flags.StringVar(&s.only, "only", "",
		"only rows whose name contains this; other names are memory, median and cold start")
	flags.BoolVar(&s.relayed, "relayed", false, "measure relayed tools instead, with all processes on all cores")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: there are only flags", flags.Arg(0))
	}
	if s.rounds < 1 || s.connections < 1 || s.slice < time.Millisecond {
		return errors.New("--rounds and --connections must be at least 1, and --slice at least 1ms")
	}
	if s.relayed && (s.only != "" || flags.Changed("connections")) {
		return errors.New("--relayed measures all its rows, with 1 caller and with 32")
	}
	if *chain != "" {
		return serveChain(ctx, *chain, *issuer)
	}
	if runtime.GOOS != "linux" {
		return errors.New("it needs Linux: it reads the CPU times of other processes from /proc")
	}
	if !s.relayed {
		if err := pin(); err != nil {
			return err
		}
	}
	folder, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder,
		"./cmd/gatehouse", "./cmd/compare/baseline")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("the servers do not build: %w", err)
	}
	s.product, s.baseline = filepath.Join(folder, "gatehouse"), filepath.Join(folder, "baseline")
	return compare(ctx, s, os.Stdout)
}

// pin restarts this program on the second core, so that the load does not slow down the servers on the first.
func pin() error {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return nil // the measurement then has more noise
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(taskset, append([]string{taskset, "-c", "1", self}, os.Args[1:]...), os.Environ())
}
