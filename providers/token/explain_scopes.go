package token

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"gatehouse/providers"
)

// Scopes returns the local scopes that the token holds: after provider.scope_map, before a hierarchy. origin
// is where they are from. ok is false if a check of the claims failed.
func (e Explanation) Scopes() (scopes []string, origin string, ok bool) {
	if e.identity == nil {
		return nil, "", false
	}
	origin = "no scope claim"
	if e.identity.ScopesDefaulted {
		origin = "provider.default_scopes, because there is no scope claim"
	} else if name := e.scopeClaim(); name != "" {
		origin = "claim " + quotedUnlessPlain(name)
	}
	return slices.Clone(e.identity.Scopes), origin, true
}

// scopeClaim returns the claim that the scopes were read from, or "".
func (e Explanation) scopeClaim() string {
	for _, name := range e.rules.ScopeClaims {
		if _, ok, err := e.claims.lookup(name); ok && err == nil {
			return name
		}
	}
	return ""
}

// ScopeHints returns probable causes why an otherwise valid token lacks local scopes, the most probable
// first.
func (e Explanation) ScopeHints(missing []string) []Hint {
	wanted := strings.Join(missing, " ")
	if e.identity == nil || len(missing) == 0 {
		return nil
	}
	var hints []Hint
	read := e.scopeClaim()
	if raw, ok, _ := e.claims.lookup(read); ok && read != "" {
		if hint, ok := hintUnreadScopes(read, raw); ok {
			hints = append(hints, hint)
		}
		hints = append(hints, e.hintsRenamed(raw, missing)...)
	}
	hints = append(hints, e.hintsOtherClaims(read, missing)...)
	if e.identity.ScopesDefaulted {
		return append(hints, Hint{
			"it has no scope claim, and provider.default_scopes lacks " + wanted,
			"add " + wanted + " to provider.default_scopes if every user of the provider may have it, or have the " +
				"provider put scopes into its tokens",
		})
	}
	names := strings.Join(e.rules.ScopeMap.ToProvider(missing), " ")
	return append(hints, Hint{
		"the client did not request " + names + ", or the provider did not grant it",
		"create " + names + " at the provider, allow it for this client and user, and sign in again with it: " +
			"clients request what scopes.initial has. " + e.scopeFix(names),
	})
}

// scopeFix is what a product needs for a scope to be in a token.
func (e Explanation) scopeFix(names string) string {
	switch productOf(e.identity.Issuer) {
	case keycloak:
		return "At Keycloak, assign " + names + " to the client as a client scope: an optional one must be " +
			"requested, a default one need not"
	case entra:
		return "At Entra, tokens of a user have scp with the scopes of this server's registration; those of an " +
			"application alone have roles instead"
	}
	return "`gatehouse token get` does so and prints the token"
}

// hintUnreadScopes recognizes lists with several scopes in one entry.
func hintUnreadScopes(name string, raw json.RawMessage) (Hint, bool) {
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return Hint{}, false
	}
	i := slices.IndexFunc(list, func(entry string) bool { return strings.ContainsAny(strings.TrimSpace(entry), " ,") })
	if i < 0 {
		return Hint{}, false
	}
	return Hint{
		"claim " + quotedUnlessPlain(name) + " is a list, and its entry " + providers.Quote(list[i]) +
			" is not read as several scopes",
		"have the provider write one scope in each entry of the list, or one text with all of them",
	}, true
}

// hintsRenamed recognizes scopes that the provider spells in another way, such as api://demo/mcp.use for
// mcp:use.
func (e Explanation) hintsRenamed(raw json.RawMessage, missing []string) []Hint {
	var hints []Hint
	for _, want := range missing {
		for _, got := range textsWithin(raw) {
			for scope := range strings.FieldsSeq(got) {
				if scope != want && plainScope(scope) == plainScope(want) && providers.IsScope(scope) {
					hints = append(hints, Hint{
						"it has " + providers.Quote(scope) + ", which is not mapped to " + want,
						"add " + scope + "=" + want + " to provider.scope_map, if the provider means that scope",
					})
				}
			}
		}
	}
	return hints
}

// plainScope returns the letters and digits of a scope without the resource before it.
func plainScope(scope string) string {
	scope = scope[strings.LastIndexByte(scope, '/')+1:]
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(scope))
}

// permissionClaims are where providers put what a user may do. Whether they are this server's scopes is for
// the operator to decide.
var permissionClaims = []string{
	"scope", "scp", "scopes", "permissions", "roles", "role", "groups", "authorities", "entitlements",
	"realm_access.roles", "cognito:groups",
}

// hintsOtherClaims names the claims that are not read and have a missing scope, or may have it.
func (e Explanation) hintsOtherClaims(read string, missing []string) []Hint {
	wanted := slices.Concat(missing, e.rules.ScopeMap.ToProvider(missing))
	var hints []Hint
	var possible []string
	for path, raw := range claimPaths(e.claims.members()) {
		if path == read {
			continue
		}
		held := slices.ContainsFunc(textsWithin(raw), func(text string) bool {
			return slices.ContainsFunc(strings.Fields(text), func(s string) bool { return slices.Contains(wanted, s) })
		})
		switch name := quotedUnlessPlain(path); {
		case held && slices.Contains(e.rules.ScopeClaims, path):
			hints = append(hints, Hint{
				"claim " + name + " has it, and claim " + read + " counts, because it is before " + name +
					" in provider.scope_claims",
				"set provider.scope_claims=" + path + ", if the provider puts granted scopes there",
			})
		case held:
			hints = append(hints, Hint{
				"claim " + name + " has it, and is not read (provider.scope_claims)",
				"set provider.scope_claims=" + path + ", if the provider puts there what this client and user may do " +
					"here, and into access tokens only",
			})
		case slices.Contains(permissionClaims, path):
			possible = append(possible, name)
		}
	}
	slices.SortFunc(hints, func(a, b Hint) int { return strings.Compare(a.Cause, b.Cause) })
	if slices.Sort(possible); len(hints) == 0 && len(possible) > 0 {
		hints = append(hints, Hint{
			"it may hold what was granted in claims that are not read: " + strings.Join(possible, ", "),
			"if one of them says what this client and user may do here, name it in provider.scope_claims and map " +
				"its values in provider.scope_map",
		})
	}
	return hints
}

// claimPaths are the claims, and the members of claims that are objects, by their paths.
func claimPaths(claims map[string]json.RawMessage) map[string]json.RawMessage {
	paths := maps.Clone(claims)
	for name, raw := range claims {
		inner, err := parseObject(raw, nil)
		if err != nil {
			continue
		}
		for member, value := range inner.members() {
			paths[name+"."+member] = value
			deeper, err := parseObject(value, nil)
			if err != nil {
				continue
			}
			for last, value := range deeper.members() { // resource_access.CLIENT.roles
				paths[name+"."+member+"."+last] = value
			}
		}
	}
	return paths
}

// textsWithin returns a text, or those in a list. Of a list of objects it returns nothing.
func textsWithin(raw json.RawMessage) []string {
	texts, err := stringsIn(raw)
	if err != nil {
		return nil
	}
	return texts
}
