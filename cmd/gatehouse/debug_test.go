package main

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/providers/providertest"
)

// At level debug the log shows what was decided on, step by step, and still nothing that opens a door or names a person.
func TestTheDebugLogShowsTheStepsOfTheDecisionAndNoToken(t *testing.T) {
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	for level, visible := range map[string]bool{"debug": true, "info": false} {
		t.Run(level, func(t *testing.T) {
			h := startHouse(t, map[string]string{
				"provider.kind": "oidc", "provider.issuer": authority.URL(), "provider.jwks_url": authority.KeysURL(), "log.level": level,
			})
			tokens := []string{
				authority.Token(h.url, map[string]any{"sub": "canary-person", "email": "canary@example.com", "scope": "mcp:use greet:read"}),
				authority.Token("https://other.example/mcp", map[string]any{"sub": "canary-person"}),
				"canary-opaque-token",
			}
			body, header := callModern("greet", `{"name":"Bob"}`)
			for _, token := range tokens {
				send(t, http.MethodPost, h.url, token, body, header)
			}
			h.stop()
			log := h.log.String()
			for _, want := range []string{
				"steps.header_alg=", "steps.claim_iss=", "steps.claim_aud=", "steps.claim_exp=", "steps.claim_scope=", "steps.signature=", "by key",
				`(audience_mismatch, want ` + h.url + `)`, "(token_opaque",
			} {
				if strings.Contains(log, want) != visible {
					t.Errorf("%q is in the log: %t\n%s", want, !visible, log)
				}
			}
			for _, line := range strings.Split(log, "\n") {
				if strings.Contains(line, "msg=token") && strings.Contains(line, "canary") {
					t.Errorf("the line names a person: %s", line)
				}
			}
			for _, token := range tokens {
				parts := strings.Split(token, ".")
				if strings.Contains(log, parts[len(parts)-1]) || strings.Contains(log, token) {
					t.Errorf("the log has a token in it")
				}
			}
		})
	}
}
