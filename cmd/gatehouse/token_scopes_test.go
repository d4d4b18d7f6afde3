package main

import (
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/providertest"
)

// A token may be valid and open nothing. The verdict says so, with what is missing, where it may be, and
// which tools remain.
func TestTokenInspect_ShowsWhatTheTokenOpens(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	const (
		resource = "https://mcp.example.com/mcp"
		accepted = "This token is accepted at " + resource + "\n"
		refused  = "This token is valid at " + resource + ", but every call is refused (403): it lacks mcp:use\n"
	)
	args := []string{
		"inspect", "--provider.kind", "oidc", "--provider.issuer", authority.URL(),
		"--provider.jwks_url", authority.KeysURL(), "--resource", resource, "--tools.demo=true",
		"--scopes.required", "mcp:use", "--scopes.implies", "all > mcp:use greet:read greet:write",
	}
	for name, c := range map[string]struct {
		claims map[string]any
		flags  []string
		want   []string
		not    []string
		code   int
	}{
		"some tools": {
			claims: map[string]any{"scope": "mcp:use greet:read"},
			want: []string{
				accepted, "  scopes   mcp:use greet:read (claim scope;", "  required mcp:use\n", "  tools    whoami, greet, wait\n",
				"confirm (needs greet:write), stats (needs gatehouse:admin)\n",
			},
		},
		"a broad scope": {
			claims: map[string]any{"scope": "all"},
			want: []string{
				accepted, "  scopes   all mcp:use greet:read greet:write", "  not      stats (needs gatehouse:admin)\n",
			},
			not: []string{"needs greet:write"},
		},
		"a mapped scope": {
			claims: map[string]any{"scope": "theirs"}, flags: []string{"--provider.scope_map", "theirs=mcp:use"},
			want: []string{accepted, "  scopes   mcp:use (claim scope;"},
		},
		"no scope requested": {
			claims: map[string]any{"scope": "openid profile"}, code: exitFailure,
			want: []string{
				refused, "* the client did not request mcp:use", "scopes.initial", "  required mcp:use; missing mcp:use\n",
				"  tools    none\n", "whoami (needs mcp:use)",
			},
		},
		"by the provider's name": {
			claims: map[string]any{"scope": "openid"}, flags: []string{"--provider.scope_map", "api/use=mcp:use"},
			want: []string{refused, "* the client did not request api/use"}, code: exitFailure,
		},
		"in roles": {
			claims: map[string]any{"scope": nil, "roles": []string{"mcp:use"}}, code: exitFailure,
			want: []string{
				refused, "* claim roles has it, and is not read", "set provider.scope_claims=roles,", "(no scope claim;",
			},
		},
		"in a claim of another name, by the provider's name": {
			claims: map[string]any{"scope": "x", "powers": "a api/use"}, code: exitFailure,
			flags: []string{"--provider.scope_map", "api/use=mcp:use"},
			want:  []string{refused, "set provider.scope_claims=powers,"},
		},
		"in an object": {
			claims: map[string]any{"realm_access": map[string]any{"roles": []string{"mcp:use"}}, "scope": "openid"},
			want:   []string{refused, "set provider.scope_claims=realm_access.roles,"}, code: exitFailure,
		},
		"deeper": {
			claims: map[string]any{"scope": "openid", "resource_access": map[string]any{
				"gatehouse": map[string]any{"roles": []string{"mcp:use"}},
			}},
			want: []string{refused, "set provider.scope_claims=resource_access.gatehouse.roles,"}, code: exitFailure,
		},
		"in the second claim": {
			claims: map[string]any{"scope": "", "scp": []string{"mcp:use"}}, code: exitFailure,
			want: []string{refused, "claim scope counts, because it is before scp", "set provider.scope_claims=scp,"},
		},
		"in one entry of a list": {
			claims: map[string]any{"scope": nil, "scp": []string{"mcp:use greet:read"}}, code: exitFailure,
			want: []string{refused, `its entry "mcp:use greet:read" is not read as several scopes`},
		},
		"by another spelling": {
			claims: map[string]any{"scope": "api://demo/Mcp.Use"}, code: exitFailure,
			want: []string{refused, "which is not mapped to mcp:use", "add api://demo/Mcp.Use=mcp:use to provider.scope_map"},
		},
		"perhaps in permissions": {
			claims: map[string]any{"scope": "openid", "permissions": []string{"read:tools"}, "groups": []string{"staff"}},
			want:   []string{refused, "claims that are not read: groups, permissions"}, code: exitFailure,
		},
		"default scopes that lack it": {
			claims: map[string]any{"scope": nil}, flags: []string{"--provider.default_scopes", "greet:read"},
			want: []string{refused, "add mcp:use to provider.default_scopes", "provider.default_scopes, because"},
			not:  []string{"did not request"}, code: exitFailure,
		},
		"refused for another reason": {
			claims: map[string]any{"scope": "", "aud": "other"}, code: exitFailure,
			want: []string{"This token is refused at "}, not: []string{"every call", "  tools "},
		},
		"offline": {
			claims: map[string]any{"scope": "openid"}, flags: []string{"--offline"}, code: exitFailure,
			want: []string{"is undecided", "without --offline", "Even if it is accepted, every call is refused (403): it lacks"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			flags := append([]string{"--token-file", writeFile(t, "token", authority.Token(resource, c.claims))}, c.flags...)
			code, out, errs := runToken(t, "", slices.Concat(args, flags)...)
			if code != c.code || errs != "" {
				t.Errorf("it ended with %d %s", code, errs)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("the output lacks %q:\n%s", want, out)
				}
			}
			for _, not := range c.not {
				if strings.Contains(out, not) {
					t.Errorf("the output has %q:\n%s", not, out)
				}
			}
		})
	}
}
