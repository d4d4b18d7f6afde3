// Command overload attacks a gatehouse binary as a hostile client can, within the memory of a small
// container, and fails if the server's memory or the latency of another client exceeds its bound. It needs
// Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// The bounds, for a container of 256 MiB. The product sets GOMEMLIMIT to nine tenths of a container's memory.
const (
	memoryLimit = 241591910 // bytes
	maxResident = 256 << 20 // bytes
	maxLatency  = 2 * time.Second
	maxDuration = 60 * time.Second // of one attack
)

func main() {
	only := flag.String("only", "", "run only the attack with this name")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: overload [--only ATTACK] BINARY")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed, run := 0, 0
	for _, a := range attacks() {
		if *only != "" && a.name != *only {
			continue
		}
		run++
		r, err := try(ctx, flag.Arg(0), a)
		if err == nil && r.problem(a) != "" { // another program may have used the CPU
			fmt.Printf("%-36s %s; trying again\n", a.name, r.problem(a))
			r, err = try(ctx, flag.Arg(0), a)
		}
		verdict := "ok"
		if err != nil {
			verdict, failed = "FAILED: "+err.Error(), failed+1
		} else if problem := r.problem(a); problem != "" {
			verdict, failed = "FAILED: "+problem, failed+1
		}
		fmt.Printf("%-36s peak %3d MiB of %d, other client waits at most %4d ms of %d, "+
			"%d of its %d calls failed; responses %v  %s\n",
			a.name, r.resident>>20, maxResident>>20, r.latency.Milliseconds(), maxLatency.Milliseconds(), r.failed,
			r.calls, r.responses, verdict)
	}
	fmt.Printf("%d passed, %d failed\n", run-failed, failed)
	if failed > 0 || run == 0 {
		os.Exit(1)
	}
}

// result is the effect of one attack on the server and on another client.
type result struct {
	resident  int64          // peak memory of the server in bytes
	latency   time.Duration  // longest call of the other client
	calls     int            // of the other client
	failed    int            // of those
	responses map[string]int // to the attack, by status
}

// problem returns which bound the attack exceeded, or "".
func (r result) problem(a attack) string {
	switch {
	case r.responses[a.response] == 0:
		return "the attack did not get the response " + a.response
	case r.resident > maxResident:
		return fmt.Sprintf("the server used %d MiB", r.resident>>20)
	case r.latency > maxLatency:
		return fmt.Sprintf("the other client waited %d ms", r.latency.Milliseconds())
	case r.failed > 0:
		return fmt.Sprintf("%d calls of the other client failed", r.failed)
	}
	return ""
}

// try starts a server and runs one attack against it, while another client calls a tool.
func try(ctx context.Context, binary string, a attack) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, maxDuration)
	defer cancel()
	t, err := start(ctx, binary, a.settings)
	if err != nil {
		return result{}, err
	}
	defer t.stop()
	stopClient := make(chan struct{})
	measured := make(chan result, 1)
	go func() { measured <- t.otherClient(ctx, stopClient) }()
	a.run(ctx, t)
	// Time for one more call after the attack.
	select {
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
	}
	close(stopClient)
	r := <-measured
	r.responses = t.responses.snapshot()
	if r.calls == 0 {
		return r, errors.New("the other client made no call")
	}
	if r.resident, err = t.peak(); err != nil {
		return r, err
	}
	return r, nil
}
