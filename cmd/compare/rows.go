package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// row is one comparison of the CPU time per request of two servers.
type row struct {
	name   string
	target float64 // upper bound of the ratio
	a, b   side
}

// side is a server under load.
type side struct {
	*process
	status int // that of every response
	next   requests
}

// rows starts the servers and returns the comparisons between them.
func (c *comparison) rows(ctx context.Context) ([]row, error) {
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
		p, err := c.startProduct(ctx, environ, flags...)
		return keep(name, p, err)
	}
	dual, stateless := product("dual", nil), product("stateless", nil, "--mcp.era", "stateless")
	// Both sides with the garbage collector as Go sets it by default, and as the product sets it.
	gogc100, gogc250 := []string{"GOGC=100"}, []string{"GOGC=250"}
	dual100 := product("dual, GOGC=100", gogc100)
	stateless100 := product("stateless, GOGC=100", gogc100, "--mcp.era", "stateless")
	unlimited := product("without a limit of failures", nil, "--server.failed_auth_per_minute", "1000000")
	chain, err := c.startChain(ctx)
	keep("chain", chain, err)
	for _, role := range []string{cannedResponse, bareHandler, withSessions} {
		p, err := c.startBaseline(ctx, role, nil)
		keep(role, p, err)
	}
	bare250, err := c.startBaseline(ctx, bareHandler, gogc250)
	keep("bare, GOGC=250", bare250, err)
	sessions250, err := c.startBaseline(ctx, withSessions, gogc250)
	keep("sessions, GOGC=250", sessions250, err)
	if failure != nil {
		return nil, failure
	}

	modern := func(p *process) side {
		request := modernCall(p.address, c.token(p, nil))
		return side{p, http.StatusOK, func(int) []byte { return request }}
	}
	legacy := func(p *process) side {
		request := legacyCall(p.address, c.token(p, nil), "")
		return side{p, http.StatusOK, func(int) []byte { return request }}
	}
	inSession := func(p *process) side {
		token := c.token(p, nil)
		var calls [][]byte
		for range c.connections {
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
			calls = append(calls, modernCall(unlimited.address, token))
		}
		turn := make([]int, c.connections)
		return side{unlimited, http.StatusUnauthorized, func(connection int) []byte {
			turn[connection]++
			return calls[(turn[connection]*c.connections+connection)%len(calls)]
		}}
	}
	response := modern(started[cannedResponse])
	const different = 500
	expired := map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}
	foreign := map[string]any{"aud": "https://elsewhere.example/mcp"}
	return []row{
		{"call, 2026-07-28", 0.75, modern(dual), modern(started[bareHandler])},
		{"call, 2025-11-25, no session", 0.85, legacy(stateless), legacy(started[bareHandler])},
		{"call, 2025-11-25, in a session", 0.85, inSession(dual), inSession(started[withSessions])},
		{"call, 2026-07-28, GOGC=100 for both", 1.15, modern(dual100), modern(started[bareHandler])},
		{"call, 2025-11-25, no session, GOGC=100 for both", 1.22, legacy(stateless100),
			legacy(started[bareHandler])},
		{"call, 2025-11-25, in a session, GOGC=100 for both", 1.22, inSession(dual100),
			inSession(started[withSessions])},
		{"call, 2026-07-28, GOGC=250 for both", 1.15, modern(dual), modern(bare250)},
		{"call, 2025-11-25, no session, GOGC=250 for both", 1.22, legacy(stateless), legacy(bare250)},
		{"call, 2025-11-25, in a session, GOGC=250 for both", 1.22, inSession(dual), inSession(sessions250)},
		{"chain alone, known token, log off", 1.45, modern(chain), response},
		{"refused: no token", 1.1, refused([]string{""}), response},
		{"refused: garbage", 1.4, refused([]string{strings.Repeat("x", 900)}), response},
		{"refused: expired, never seen before", 1.9,
			side{unlimited, http.StatusUnauthorized, c.distinctSignatures(unlimited, expired)}, response},
		{"refused: for another audience, never seen before", 1.9,
			side{unlimited, http.StatusUnauthorized, c.distinctSignatures(unlimited, foreign)}, response},
		{"refused: expired, 500 tokens in turn", 1.6, refused(c.distinctTokens(unlimited, different, expired)),
			response},
		{"refused: for another audience, 500 in turn", 1.6,
			refused(c.distinctTokens(unlimited, different, foreign)), response},
	}, failure
}
