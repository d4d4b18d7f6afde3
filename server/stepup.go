package server

import (
	"slices"

	"gatehouse/providers"
)

// maxStepUpBytes limits a challenge that names scopes beyond those that the operation needs. Proxies limit
// headers, and the token determines the number of scopes.
const maxStepUpBytes = 2 << 10

// stepUp adds the scopes that a client must request in addition to those of the operation. Many clients
// request exactly what the challenge names, so that the next token lacks whatever the challenge omits.
type stepUp struct {
	known map[string]bool
	// readScope is [providers.ScopeReader].ReadScope.
	readScope func(inToken string) (local []string, request string)
	// advertised are scopes that the provider needs in every request, such as openid.
	advertised []string
}

func newStepUp(c Config, p providers.Provider) stepUp {
	s := stepUp{
		known:     map[string]bool{},
		readScope: func(name string) ([]string, string) { return []string{name}, name },
	}
	own := map[string]bool{} // scopes of tools and of scopes.implies
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
		local, _ := s.readScope(name)
		if !slices.ContainsFunc(local, func(scope string) bool { return own[scope] }) {
			s.advertised = append(s.advertised, name)
		}
	}
	return s
}

// extend returns needed, then the known scopes that the token of caller holds, then the advertised ones,
// without duplicates. ok is false if they do not fit into a challenge.
func (s stepUp) extend(needed []string, caller *providers.Identity) (all []string, ok bool) {
	size := 0
	for _, name := range needed {
		size += len(name) + 1
	}
	held := map[string]bool{} // a token may repeat a scope many times
	all = needed
	for _, inToken := range caller.TokenScopes() {
		if held[inToken] {
			continue
		}
		held[inToken] = true
		local, request := s.readScope(inToken)
		if !slices.ContainsFunc(local, func(scope string) bool { return s.known[scope] }) {
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

// appendScopes appends names that are not in list. It omits offline_access, which asks for a refresh token:
// that is the client's decision (MCP 2026-07-28, authorization, "scope selection strategy").
func appendScopes(list []string, names ...string) []string {
	for _, name := range names {
		if name != "offline_access" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
