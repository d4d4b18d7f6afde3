// Overload sends a built gatehouse what a hostile caller can send, in the memory of a small container, and fails if the
// server's memory or another caller's waiting time goes over its bound. It needs Linux.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// The bounds, for a container of 256 MiB whose collector is tuned to nine tenths of it (see cmd/gatehouse/gc.go).
const (
	memoryLimit = 241591910
	maxResident = 256 << 20
	maxWaiting  = 2 * time.Second
	// maxDuration bounds one attack, whatever the machine.
	maxDuration = 60 * time.Second
)

func main() {
	only := flag.String("only", "", "run the attack of this name alone")
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
		if err == nil && r.problem(a) != "" { // once more: another program may have had the processor
			fmt.Printf("%-36s %s; tried again\n", a.name, r.problem(a))
			r, err = try(ctx, flag.Arg(0), a)
		}
		verdict := "ok"
		if err != nil {
			verdict, failed = "FAILED: "+err.Error(), failed+1
		} else if problem := r.problem(a); problem != "" {
			verdict, failed = "FAILED: "+problem, failed+1
		}
		fmt.Printf("%-36s peak %3d MiB of %d, neighbour waits at most %4d ms of %d, %d of %d calls refused; answers %v  %s\n",
			a.name, r.resident>>20, maxResident>>20, r.waiting.Milliseconds(), maxWaiting.Milliseconds(), r.refused, r.calls, r.answers, verdict)
	}
	fmt.Printf("%d passed, %d failed\n", run-failed, failed)
	if failed > 0 || run == 0 {
		os.Exit(1)
	}
}

// result is what one attack did to the server and to its neighbour.
type result struct {
	resident int64         // the most memory that the process had, in bytes
	waiting  time.Duration // the longest that a call of the neighbour took
	calls    int           // of the neighbour
	refused  int           // of those
	answers  map[string]int
}

// problem says what the attack did that it must not, or "".
func (r result) problem(a attack) string {
	switch {
	case r.answers[a.answer] == 0:
		return "the attack did not get the answer " + a.answer
	case r.resident > maxResident:
		return fmt.Sprintf("the server had %d MiB", r.resident>>20)
	case r.waiting > maxWaiting:
		return fmt.Sprintf("the neighbour waited %d ms", r.waiting.Milliseconds())
	case r.refused > 0:
		return fmt.Sprintf("%d calls of the neighbour were refused", r.refused)
	}
	return ""
}

// try starts a server, runs one attack against it, and has a neighbour call a tool meanwhile.
func try(ctx context.Context, binary string, a attack) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, maxDuration)
	defer cancel()
	t, err := start(ctx, binary, a.settings)
	if err != nil {
		return result{}, err
	}
	defer t.stop()
	stopNeighbour := make(chan struct{})
	watched := make(chan result, 1)
	go func() { watched <- t.neighbour(ctx, stopNeighbour) }()
	a.run(ctx, t)
	// One more call after the attack has ended.
	select {
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
	}
	close(stopNeighbour)
	r := <-watched
	r.answers = t.answers.snapshot()
	if r.calls == 0 {
		return r, fmt.Errorf("the neighbour got no answer at all")
	}
	if r.resident, err = t.peak(); err != nil {
		return r, err
	}
	return r, nil
}
