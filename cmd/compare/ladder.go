package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// row is one comparison: two servers, each with its own requests.
type row struct {
	name   string
	target float64 // what the ratio may be
	a, b   side
}

type side struct {
	*process
	status int
	next   requests
}

// world is everything that runs while things are compared.
type world struct {
	settings
	issuer *issuer
	all    []*process
}

func (w *world) close() {
	for _, p := range w.all {
		p.stop()
	}
	w.issuer.Close()
}

// What the product is compared with; see the command baseline.
const (
	cannedAnswer = "canned"
	bareHandler  = "bare"
	withSessions = "sessions"
)

func (w *world) other(ctx context.Context, role string, environ []string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return w.run(ctx, address, environ, w.baseline, role, address)
}

// gate starts the product's chain alone, which this program can be.
func (w *world) gate(ctx context.Context) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return w.run(ctx, address, nil, self, "--gate", address, "--issuer", w.issuer.URL)
}

// product starts the server as it is shipped, with the demo tools, access log on.
func (w *world) product(ctx context.Context, environ []string, flags ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return w.run(ctx, address, environ, w.settings.product, append([]string{"serve", "--resource", "http://" + address + "/mcp", "--server.listen", address,
		"--provider.kind", "oidc", "--provider.issuer", w.issuer.URL, "--scopes.required", "mcp:use", "--tools.demo", "--server.drain_time", "0s"}, flags...)...)
}

func (w *world) run(ctx context.Context, address string, environ []string, program string, args ...string) (*process, error) {
	p, err := start(ctx, address, environ, program, args...)
	if err != nil {
		return nil, err
	}
	w.all = append(w.all, p)
	return p, p.await(ctx)
}

// token is a good token for a server.
func (w *world) token(p *process, changes map[string]any) string {
	return w.issuer.token("http://"+p.address+"/mcp", changes)
}

// many are tokens no two of which are the same, to be taken in turn by all connections.
func (w *world) many(p *process, n int, changes map[string]any) []string {
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = w.token(p, changes)
	}
	return tokens
}

// unlike are requests that differ in the signature of their token, which is refused for what it says before anybody looks at that. They
// are made on the way: so many tokens, laid out in memory, would push the server's out of the caches that it shares with the load.
func (w *world) unlike(p *process, changes map[string]any) requests {
	token := w.token(p, changes)
	request := modernCall(p.address, token)
	signature := bytes.Index(request, []byte(token)) + strings.LastIndexByte(token, '.') + 1
	copies, n := make([][]byte, w.connections), make([]uint64, w.connections)
	for i := range copies {
		copies[i], n[i] = bytes.Clone(request), uint64(i)<<32
	}
	return func(connection int) []byte {
		n[connection]++
		var number [8]byte
		binary.BigEndian.PutUint64(number[:], n[connection])
		hex.Encode(copies[connection][signature:], number[:])
		return copies[connection]
	}
}

// compare runs all comparisons and writes them down.
func compare(ctx context.Context, s settings, out io.Writer) error {
	i, err := newIssuer()
	if err != nil {
		return err
	}
	w := &world{settings: s, issuer: i}
	defer w.close()
	rows, err := w.rows(ctx)
	if err != nil {
		return err
	}
	type measurement struct {
		name    string
		measure func(context.Context, io.Writer) error
	}
	var all []measurement
	for _, r := range rows {
		all = append(all, measurement{r.name, func(ctx context.Context, out io.Writer) error {
			ratios, err := w.ratios(ctx, r)
			if err == nil {
				line(out, r.name, ratios, r.target)
			}
			return err
		}})
	}
	all = append(all, measurement{"memory", w.memory}, measurement{"median", w.floods}, measurement{"cold start", w.coldStarts})
	all = slices.DeleteFunc(all, func(m measurement) bool { return !strings.Contains(m.name, s.only) })
	if len(all) == 0 {
		return fmt.Errorf("no row has %q in its name", s.only)
	}
	heading(out, s)
	for _, m := range all {
		if err := m.measure(ctx, out); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// rows starts the servers.
func (w *world) rows(ctx context.Context) ([]row, error) {
	var (
		started = map[string]*process{}
		failure error
	)
	keep := func(name string, p *process, err error) *process {
		if err != nil && failure == nil {
			failure = fmt.Errorf("%s: %w", name, err)
		}
		started[name] = p
		return p
	}
	product := func(name string, environ []string, flags ...string) *process {
		p, err := w.product(ctx, environ, flags...)
		return keep(name, p, err)
	}
	dual, stateless := product("dual", nil), product("stateless", nil, "--mcp.era", "stateless")
	// The collector as the runtime sets it for a server that says nothing, and as the product sets it, on both sides.
	early, late := []string{"GOGC=100"}, []string{"GOGC=250"}
	earlyDual, earlyStateless := product("early dual", early), product("early stateless", early, "--mcp.era", "stateless")
	open := product("unthrottled", nil, "--server.failed_auth_per_minute", "1000000")
	gated, err := w.gate(ctx)
	keep("gate", gated, err)
	for _, role := range []string{cannedAnswer, bareHandler, withSessions} {
		p, err := w.other(ctx, role, nil)
		keep(role, p, err)
	}
	lateBare, err := w.other(ctx, bareHandler, late)
	keep("late bare", lateBare, err)
	lateSessions, err := w.other(ctx, withSessions, late)
	keep("late sessions", lateSessions, err)
	if failure != nil {
		return nil, failure
	}

	modern := func(p *process) side {
		request := modernCall(p.address, w.token(p, nil))
		return side{p, http.StatusOK, func(int) []byte { return request }}
	}
	legacy := func(p *process) side {
		request := legacyCall(p.address, w.token(p, nil), "")
		return side{p, http.StatusOK, func(int) []byte { return request }}
	}
	inSession := func(p *process) side {
		token := w.token(p, nil)
		var calls [][]byte
		for range w.connections {
			session, err := openSession(p.address, token)
			if err != nil && failure == nil {
				failure = err
			}
			calls = append(calls, legacyCall(p.address, token, session))
		}
		return side{p, http.StatusOK, func(connection int) []byte { return calls[connection] }}
	}
	refused := func(tokens []string) side {
		var calls [][]byte
		for _, token := range tokens {
			calls = append(calls, modernCall(open.address, token))
		}
		turn := make([]int, w.connections)
		return side{open, http.StatusUnauthorized, func(connection int) []byte {
			turn[connection]++
			return calls[(turn[connection]*w.connections+connection)%len(calls)]
		}}
	}
	answer := modern(started[cannedAnswer])
	const different = 500
	expired, foreign := map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, map[string]any{"aud": "https://elsewhere.example/mcp"}
	return []row{
		{"call, 2026-07-28", 0.75, modern(dual), modern(started[bareHandler])},
		{"call, 2025-11-25, no session", 0.85, legacy(stateless), legacy(started[bareHandler])},
		{"call, 2025-11-25, in a session", 0.85, inSession(dual), inSession(started[withSessions])},
		{"call, 2026-07-28, GOGC=100 for both", 1.15, modern(earlyDual), modern(started[bareHandler])},
		{"call, 2025-11-25, no session, GOGC=100 for both", 1.22, legacy(earlyStateless), legacy(started[bareHandler])},
		{"call, 2025-11-25, in a session, GOGC=100 for both", 1.22, inSession(earlyDual), inSession(started[withSessions])},
		{"call, 2026-07-28, GOGC=250 for both", 1.15, modern(dual), modern(lateBare)},
		{"call, 2025-11-25, no session, GOGC=250 for both", 1.22, legacy(stateless), legacy(lateBare)},
		{"call, 2025-11-25, in a session, GOGC=250 for both", 1.22, inSession(dual), inSession(lateSessions)},
		{"gate alone, known token, log off", 1.45, modern(gated), answer},
		{"refused: no token", 1.1, refused([]string{""}), answer},
		{"refused: garbage", 1.4, refused([]string{strings.Repeat("x", 900)}), answer},
		{"refused: expired, never seen before", 1.9, side{open, http.StatusUnauthorized, w.unlike(open, expired)}, answer},
		{"refused: for another audience, never seen before", 1.9, side{open, http.StatusUnauthorized, w.unlike(open, foreign)}, answer},
		{"refused: expired, 500 tokens in turn", 1.6, refused(w.many(open, different, expired)), answer},
		{"refused: for another audience, 500 in turn", 1.6, refused(w.many(open, different, foreign)), answer},
	}, failure
}

// ratios loads both sides of a row in turn, after a round that warms both up.
func (w *world) ratios(ctx context.Context, r row) ([]float64, error) {
	var ratios []float64
	for round := range w.rounds + 1 {
		a, err := w.cost(ctx, r.a)
		if err != nil {
			return nil, err
		}
		b, err := w.cost(ctx, r.b)
		if err != nil {
			return nil, err
		}
		if round > 0 {
			ratios = append(ratios, a/b)
		}
	}
	return ratios, nil
}

// cost is the CPU time of a server per request, in nanoseconds. The first fifth of a slice does not count: it fetches back what a
// server that was idle gave away, caches and memory.
func (w *world) cost(ctx context.Context, s side) (float64, error) {
	if _, err := w.loaded(ctx, s, w.slice/5); err != nil {
		return 0, err
	}
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	r, err := w.loaded(ctx, s, w.slice*4/5)
	if err != nil {
		return 0, err
	}
	after, err := s.cpu()
	switch {
	case err != nil:
		return 0, err
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case r.wrong > 0 || r.answered == 0:
		return 0, fmt.Errorf("%d of %d answers were not %d", r.wrong, r.answered, s.status)
	}
	return float64(after-before) / float64(r.answered), nil
}

func (w *world) loaded(ctx context.Context, s side, slice time.Duration) (result, error) {
	ctx, end := context.WithTimeout(ctx, slice)
	defer end()
	return load(ctx, s.address, w.connections, s.status, s.next)
}

// memory compares what two servers hold after the same load.
func (w *world) memory(ctx context.Context, out io.Writer) error {
	ours, err := w.product(ctx, nil)
	if err != nil {
		return err
	}
	theirs, err := w.other(ctx, bareHandler, nil)
	if err != nil {
		return err
	}
	var held [2]int64
	for i, p := range []*process{ours, theirs} {
		request := modernCall(p.address, w.token(p, nil))
		for range 4 {
			if _, err := w.cost(ctx, side{p, http.StatusOK, func(int) []byte { return request }}); err != nil {
				return err
			}
		}
		if held[i], err = p.memory(); err != nil {
			return err
		}
	}
	line(out, fmt.Sprintf("memory after load (%d MB)", held[0]>>20), []float64{float64(held[0]) / float64(held[1])}, 2)
	return nil
}

// floods compares the median of good calls among bad ones with that of good calls alone.
func (w *world) floods(ctx context.Context, out io.Writer) error {
	const good, bad, different = 4, 32, 2_000
	p, err := w.product(ctx, nil)
	if err != nil {
		return err
	}
	forged := w.many(p, different, nil)
	for i, token := range forged {
		cut := strings.LastIndexByte(token, '.') + 1
		forged[i] = token[:cut] + strings.Repeat("A", len(token)-cut-2) + "AA"
	}
	call := modernCall(p.address, w.token(p, nil))
	for name, tokens := range map[string][]string{
		"garbage": {strings.Repeat("x", 900)}, "expired": w.many(p, different, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), "forged": forged,
	} {
		var ratios []float64
		for round := range w.rounds + 1 {
			alone, err := w.median(ctx, p.address, call, good, nil, 0)
			if err != nil {
				return err
			}
			among, err := w.median(ctx, p.address, call, good, tokens, bad)
			if err != nil {
				return err
			}
			if round > 0 {
				ratios = append(ratios, float64(among)/float64(alone))
			}
		}
		line(out, fmt.Sprintf("median of good calls on %d connections among %d of bad tokens: %s", good, bad, name), ratios, 2)
	}
	return nil
}

func (w *world) median(ctx context.Context, address string, call []byte, good int, tokens []string, bad int) (time.Duration, error) {
	slice, end := context.WithTimeout(ctx, w.slice)
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
	if err == nil && r.wrong > 0 {
		err = fmt.Errorf("%d of %d good calls were refused", r.wrong, r.answered)
	}
	return r.median(), err
}

// coldStarts compares the time from the start of a process to its first good answer.
func (w *world) coldStarts(ctx context.Context, out io.Writer) error {
	var ratios []float64
	for range w.rounds {
		var took [2]time.Duration
		for i := range took {
			address, err := freeAddress()
			if err != nil {
				return err
			}
			program, args := w.settings.product, []string{"serve", "--resource", "http://" + address + "/mcp", "--server.listen", address, "--provider.kind", "oidc",
				"--provider.issuer", w.issuer.URL, "--scopes.required", "mcp:use", "--tools.demo", "--server.drain_time", "0s"}
			if i == 1 {
				program, args = w.baseline, []string{bareHandler, address}
			}
			request := modernCall(address, w.issuer.token("http://"+address+"/mcp", nil))
			p, err := start(ctx, address, nil, program, args...)
			if err != nil {
				return err
			}
			took[i], err = firstAnswer(ctx, p, request)
			p.stop()
			if err != nil {
				return err
			}
		}
		ratios = append(ratios, float64(took[0])/float64(took[1]))
	}
	line(out, "cold start to the first authorised answer", ratios, 2)
	return nil
}

func firstAnswer(ctx context.Context, p *process, request []byte) (time.Duration, error) {
	if err := p.await(ctx); err != nil {
		return 0, err
	}
	for range 10_000 {
		resp, _, err := ask(p.address, request)
		if err == nil && resp.StatusCode == http.StatusOK {
			return time.Since(p.started), nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("no good answer came")
}

func sorted(values []float64) []float64 { return slices.Sorted(slices.Values(values)) }
