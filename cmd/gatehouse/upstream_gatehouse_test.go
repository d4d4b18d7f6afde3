package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// secondGatehouse starts a Gatehouse that accepts tokens of the one at gate only, and returns its endpoint. Every
// request needs a token with the scope notes:use, and its tools need others.
func secondGatehouse(t *testing.T, gate string, more ...string) (*service, string) {
	t.Helper()
	s, address := startService(t, append([]string{"serve", "--resource=http://ADDRESS/mcp", "--provider.kind=oidc",
		"--provider.issuer=http://" + gate + "/mcp", "--provider.jwks_url=http://" + gate + "/.well-known/jwks.json",
		"--provider.key_refetch_interval=1s", "--scopes.required=notes:use", "--tools.demo"}, more...)...)
	return s, "http://" + address + "/mcp"
}

// startGate starts a Gatehouse in front of an upstream.
func startGate(t *testing.T, gate, upstream string) *service {
	t.Helper()
	s := startAt(t, console{}, gate, "serve", "--resource=http://ADDRESS/mcp",
		"--provider.signing_algorithm=ES256", "--tools.demo=false", "--scopes.required=mcp:use",
		"--scopes.initial=mcp:use,notes:use,greet:read", "--upstreams.notes.url="+upstream,
		"--upstreams.notes.identity=jwt", "--upstreams.notes.tools=greet > notes:use greet:read,whoami > notes:use")
	if s == nil {
		t.Fatalf("%s is in use", gate)
	}
	return s
}

// A server that wants a token on every request verifies this one: that of the handshake is about this server, and that
// of a call is about the caller. It gets the keys while this one still starts.
func TestServe_BehindItIsASecondGatehouse(t *testing.T) {
	t.Parallel()
	gate := freeAddress(t)
	second, upstream := secondGatehouse(t, gate, "--log.level=debug")
	first := startGate(t, gate, upstream)
	if out := first.stdout.String(); !strings.Contains(out, "2026-07-28  3 tools, 2 offered") {
		t.Errorf("the banner:\n%s", out)
	}
	for _, protocol := range []string{modern, legacy} {
		for _, name := range []string{"alice", "bob"} {
			session, err := connect(t, "http://"+gate+"/mcp", protocol, &user{name: name, decision: "approve"}, dynamicClient)
			if err != nil {
				t.Fatal(err)
			}
			result, err := call(t, session, "notes_greet", map[string]any{"name": "Ada"})
			if err != nil || result.IsError || textOf(result) != "Hello, Ada!" {
				t.Errorf("%s, %s: %+v, %v", protocol, name, result, err)
			}
			result, err = call(t, session, "notes_whoami", nil)
			if err != nil || result.IsError || !strings.Contains(textOf(result), `"subject":"`+name+`"`) ||
				!strings.Contains(textOf(result), `"scopes":["notes:use"]`) {
				t.Errorf("%s, %s: %+v, %v", protocol, name, result, err)
			}
		}
	}
	log := second.stderr.String()
	for _, want := range []string{`method=tools/list`, `subject=http://` + gate + `/mcp`, `subject=bob`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log of the second lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "outcome=unauthenticated") || strings.Contains(log, "reason=key_unknown") {
		t.Errorf("the second has refused a token:\n%s", log)
	}
}

// While the upstreams start, the keys are served, and nothing else is.
func TestServe_ServesKeysWhileUpstreamsStart(t *testing.T) {
	t.Parallel()
	gate := freeAddress(t)
	type answer struct {
		status int
		body   string
	}
	seen := make(chan [2]answer, 1)
	get := func(path string) answer {
		resp, err := http.Get("http://" + gate + path)
		if err != nil {
			return answer{0, err.Error()}
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return answer{resp.StatusCode, string(body)}
	}
	upstream := notesOverHTTP(t, func(http.Header, string) {
		select {
		case seen <- [2]answer{get("/.well-known/jwks.json"), get("/health")}:
		default:
		}
	})
	startGate(t, gate, upstream)
	during := <-seen
	if during[0].status != http.StatusOK || !strings.Contains(during[0].body, `"crv":"P-256"`) ||
		during[1].status != http.StatusServiceUnavailable {
		t.Errorf("at the start: %+v", during)
	}
	if keys := get("/.well-known/jwks.json"); keys != during[0] {
		t.Errorf("the keys were %+v and are %+v", during[0], keys)
	}
	if health := get("/health"); health.status != http.StatusOK {
		t.Errorf("%+v", health)
	}
}
