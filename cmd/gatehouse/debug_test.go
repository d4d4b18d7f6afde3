package main

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/providers/providertest"
)

// At level debug the log shows each check of a token, and still no token and no personal data.
func TestDebugLog_ShowsChecksButNoToken(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	for level, visible := range map[string]bool{"debug": true, "info": false} {
		t.Run(level, func(t *testing.T) {
			srv := startServer(t, oidcSettings(authority, map[string]string{"log.level": level}))
			good := map[string]any{"sub": "canary-person", "email": "canary@example.com", "scope": "mcp:use greet:read"}
			tokens := []string{
				authority.Token(srv.url, good),
				authority.Token("https://other.example/mcp", map[string]any{"sub": "canary-person"}),
				"canary-opaque-token",
			}
			body, header := callModern("greet", `{"name":"Bob"}`)
			for _, token := range tokens {
				send(t, http.MethodPost, srv.url, token, body, header)
			}
			srv.stop()
			log := srv.log.String()
			for _, want := range []string{
				"steps.header_alg=", "steps.claim_iss=", "steps.claim_aud=", "steps.claim_exp=", "steps.claim_scope=",
				"steps.signature=", "by key", `(audience_mismatch, want ` + srv.url + `)`, "(token_opaque",
			} {
				if strings.Contains(log, want) != visible {
					t.Errorf("the log contains %q: %t\n%s", want, !visible, log)
				}
			}
			for line := range strings.SplitSeq(log, "\n") {
				if strings.Contains(line, "msg=token") && strings.Contains(line, "canary") {
					t.Errorf("the line contains personal data: %s", line)
				}
			}
			for _, token := range tokens {
				signature := token[strings.LastIndexByte(token, '.')+1:]
				if strings.Contains(log, signature) || strings.Contains(log, token) {
					t.Errorf("the log contains a token")
				}
			}
		})
	}
}
