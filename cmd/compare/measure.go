package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// ratios returns the ratio of each round, in which both sides are loaded one after the other. The first round
// is a warm-up.
func (c *comparison) ratios(ctx context.Context, r row) ([]float64, error) {
	var ratios []float64
	for round := range c.rounds + 1 {
		a, err := c.cost(ctx, r.a)
		if err != nil {
			return nil, err
		}
		b, err := c.cost(ctx, r.b)
		if err != nil {
			return nil, err
		}
		if round > 0 {
			ratios = append(ratios, a/b)
		}
	}
	return ratios, nil
}

// cost returns the CPU time of a server per request, in nanoseconds.
func (c *comparison) cost(ctx context.Context, s side) (float64, error) {
	r, err := c.measure(ctx, s.process, func(ctx context.Context) (result, error) {
		return load(ctx, s.address, c.connections, s.status, s.next)
	})
	if err != nil {
		return 0, err
	}
	return r.cpuPerCall(), nil
}

// reading is the result of a slice, and what it took.
type reading struct {
	result
	cpu, elapsed time.Duration // of the server, and in total
}

// cpuPerCall and timePerCall are in nanoseconds.
func (r reading) cpuPerCall() float64 { return float64(r.cpu) / float64(r.responses) }

func (r reading) timePerCall() float64 { return float64(r.elapsed) / float64(r.responses) }

// measure loads a server for a slice. The first fifth does not count: a server that was idle first refills caches
// and memory.
func (c *comparison) measure(
	ctx context.Context, p *process, load func(context.Context) (result, error),
) (reading, error) {
	loaded := func(slice time.Duration) (result, error) {
		ctx, end := context.WithTimeout(ctx, slice)
		defer end()
		return load(ctx)
	}
	if _, err := loaded(c.slice / 5); err != nil {
		return reading{}, err
	}
	before, err := p.cpu()
	if err != nil {
		return reading{}, err
	}
	begin := time.Now()
	r, err := loaded(c.slice * 4 / 5)
	elapsed := time.Since(begin)
	if err != nil {
		return reading{}, err
	}
	after, err := p.cpu()
	switch {
	case err != nil:
		return reading{}, err
	case ctx.Err() != nil:
		return reading{}, ctx.Err()
	case r.unexpected > 0 || r.responses == 0:
		return reading{}, fmt.Errorf("%d of %d responses were not the expected ones", r.unexpected, r.responses)
	}
	return reading{result: r, cpu: after - before, elapsed: elapsed}, nil
}

// memory compares the memory of two servers after the same load.
func (c *comparison) memory(ctx context.Context, out io.Writer) error {
	product, err := c.startProduct(ctx, nil)
	if err != nil {
		return err
	}
	bare, err := c.startBaseline(ctx, bareHandler, nil)
	if err != nil {
		return err
	}
	var resident [2]int64
	for i, p := range []*process{product, bare} {
		request := modernCall(p.address, c.token(p, nil))
		for range 4 {
			if _, err := c.cost(ctx, side{p, http.StatusOK, func(int) []byte { return request }}); err != nil {
				return err
			}
		}
		if resident[i], err = p.memory(); err != nil {
			return err
		}
	}
	writeRow(out, fmt.Sprintf("memory after load (%d MB)", resident[0]>>20),
		[]float64{float64(resident[0]) / float64(resident[1])}, 2.4)
	return nil
}

// floods compares the median latency of valid calls among invalid ones with that of valid calls alone.
func (c *comparison) floods(ctx context.Context, out io.Writer) error {
	const good, bad, different = 4, 32, 2_000
	p, err := c.startProduct(ctx, nil)
	if err != nil {
		return err
	}
	forged := c.distinctTokens(p, different, nil)
	for i, token := range forged {
		cut := strings.LastIndexByte(token, '.') + 1
		forged[i] = token[:cut] + strings.Repeat("A", len(token)-cut-2) + "AA"
	}
	call := modernCall(p.address, c.token(p, nil))
	expired := c.distinctTokens(p, different, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	for name, tokens := range map[string][]string{
		"garbage": {strings.Repeat("x", 900)}, "expired": expired, "forged": forged,
	} {
		var ratios []float64
		for round := range c.rounds + 1 {
			alone, err := c.median(ctx, p.address, call, good, nil, 0)
			if err != nil {
				return err
			}
			among, err := c.median(ctx, p.address, call, good, tokens, bad)
			if err != nil {
				return err
			}
			if round > 0 {
				ratios = append(ratios, float64(among)/float64(alone))
			}
		}
		name := fmt.Sprintf("median of good calls on %d connections among %d of bad tokens: %s", good, bad, name)
		writeRow(out, name, ratios, 2)
	}
	return nil
}

// median returns the median latency of valid calls, on good connections, while bad connections send invalid
// tokens.
func (c *comparison) median(
	ctx context.Context, address string, call []byte, good int, tokens []string, bad int,
) (time.Duration, error) {
	slice, end := context.WithTimeout(ctx, c.slice)
	defer end()
	flooded := make(chan error, 1)
	go func() {
		turn := make([]int, bad)
		_, err := load(slice, address, bad, 0, func(connection int) []byte {
			turn[connection]++
			return modernCall(address, tokens[(turn[connection]*bad+connection)%len(tokens)])
		})
		flooded <- err
	}()
	r, err := load(slice, address, good, http.StatusOK, func(int) []byte { return call })
	if floodErr := <-flooded; err == nil {
		err = floodErr
	}
	if err == nil && r.unexpected > 0 {
		err = fmt.Errorf("%d of %d valid calls were refused", r.unexpected, r.responses)
	}
	return r.median(), err
}

// coldStarts compares the time from the start of a process to its first successful response.
func (c *comparison) coldStarts(ctx context.Context, out io.Writer) error {
	var ratios []float64
	for range c.rounds {
		var took [2]time.Duration
		for i := range took {
			address, err := freeAddress()
			if err != nil {
				return err
			}
			program, args := c.settings.product, c.productFlags(address)
			if i == 1 {
				program, args = c.baseline, []string{bareHandler, address}
			}
			request := modernCall(address, c.issuer.token("http://"+address+"/mcp", nil))
			p := c.prepare(ctx, address, nil, program, args...)
			if err := p.begin(); err != nil {
				return err
			}
			took[i], err = firstResponse(ctx, p, request)
			p.stop()
			if err != nil {
				return err
			}
		}
		ratios = append(ratios, float64(took[0])/float64(took[1]))
	}
	writeRow(out, "cold start to the first authorized response", ratios, 2.2)
	return nil
}

func firstResponse(ctx context.Context, p *process, request []byte) (time.Duration, error) {
	if err := p.await(ctx); err != nil {
		return 0, err
	}
	for range 10_000 {
		resp, _, err := roundTrip(p.address, request)
		if err == nil && resp.StatusCode == http.StatusOK {
			return time.Since(p.started), nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	return 0, errors.New("there was no successful response")
}
