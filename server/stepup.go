package server

import (
	"slices"

	"gatehouse/providers"
)

// maxStepUpBytes bounds a challenge that names scopes beyond those that the operation needs. Proxies bound
// headers, and the token decides how many scopes there are.
const maxStepUpBytes = 2 << 10

// stepUp adds to the scopes of an operation those that a client must ask for as well when it signs in again.
// Many clients ask for exactly what the challenge names: what it leaves out, the next token lacks.
type stepUp struct {
	known map[string]bool
	// readMethods is [providers.ScopeReader.ReadScope].
	readScope func(inToken string) (ours []string, request string)
	// advertised are scopes that the provider wants in every request, such as openid.
	advertised []string
}

func newStepUp(c Config, p providers.Provider) stepUp {
	s := stepUp{known: map[string]bool{}, readScope: func(name string) ([]string, string) { return []string{name}, name }}
	own := map[string]bool{} // of tools, or part of scopes.implies
	for _, scope := range c.ToolScopes {
		own[scope] = true
	}
	for broad, narrow := range c.Implies {
		for _, scope := range append([]string{broad}, narrow...) {
			own[scope], s.known[scope] = true, true
		}
	}
	for _, scope := range slices.Concat(c.RequiredScopes, c.KnownScopes) {
		s.known[scope] = true
	}
	reader, ok := p.(providers.ScopeReader)
	if !ok {
		return s
	}
	s.readScope = reader.ReadScope
	for _, name := range reader.AdvertisedScopes() {
		ours, _ := s.readScope(name)
		if !slices.ContainsFunc(ours, func(scope string) bool { return own[scope] }) {
			s.advertised = append(s.advertised, name)
		}
	}
	return s
}

// extend returns needed, then the known scopes that the token of caller holds, then the advertised ones, each
// once. ok is false if they are too many for a challenge.
func (s stepUp) extend(needed []string, caller *providers.Identity) (all []string, ok bool) {
	size := 0
	for _, name := range needed {
		size += len(name) + 1
	}
	held := map[string]bool{} // a token may repeat a scope a thousand times
	all = needed
	for _, inToken := range caller.TokenScopes() {
		if held[inToken] {
			continue
		}
		held[inToken] = true
		ours, request := s.readScope(inToken)
		if !slices.ContainsFunc(ours, func(scope string) bool { return s.known[scope] }) {
			continue
		}
		before := len(all)
		if all = appendScopes(all, request); len(all) == before {
			continue
		}
		if size += len(request) + 1; size > maxStepUpBytes {
			return nil, false
		}
	}
	return appendScopes(all, s.advertised...), true
}

// appendScopes adds names that are not in list yet. offline_access is never added: it asks for a refresh
// token, which is the client's decision (MCP 2026-07-28, authorization, "scope selection strategy").
func appendScopes(list []string, names ...string) []string {
	for _, name := range names {
		if name != "offline_access" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
