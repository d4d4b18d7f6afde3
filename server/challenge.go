package server

import (
	"strings"

	"gatehouse/providers"
)

// realm matches Scalekit's FastMCP template; clients ignore it.
const realm = "OAuth"

// challenger formats WWW-Authenticate (RFC 9110, section 11.6.1; RFC 6750, section 3; RFC 9728, section
// 5.1). All parts come from the configuration, never from the request: a forged Host header in
// resource_metadata would send clients to an attacker's sign-in.
type challenger struct {
	prefix string // scheme, realm and resource_metadata, the same in every challenge
	scope  string // the scopes of a first sign-in
	// The two most frequent challenges, preformatted: without credentials, and with an invalid token.
	signIn, invalidToken string
	// toProviderScopes translates scopes into the names that clients request from the provider.
	toProviderScopes func(scopes []string) []string
	stepUp           stepUp
}

func newChallenger(cfg Config, p providers.Provider) challenger {
	var h strings.Builder
	h.WriteString("Bearer realm=")
	writeQuoted(&h, realm)
	writeParameter(&h, "resource_metadata", cfg.Resource.MetadataURL())
	c := challenger{
		prefix:           h.String(),
		toProviderScopes: func(scopes []string) []string { return scopes },
		stepUp:           newStepUp(cfg, p),
	}
	if p != nil {
		c.scope = strings.Join(p.Metadata().ScopesSupported, " ")
	}
	if mapper, ok := p.(providers.ScopeMapper); ok {
		c.toProviderScopes = mapper.ProviderScopes
	}
	c.signIn, c.invalidToken = c.format(&httpError{}), c.format(errInvalidToken(nil))
	return c
}

func (c challenger) header(r *httpError) string {
	if r.scopes == nil {
		switch r.code {
		case "":
			return c.signIn
		case invalidTokenCode:
			return c.invalidToken
		}
	}
	return c.format(r)
}

// format returns the challenge of an error. If the scopes that the token holds make it too long, they are
// omitted.
func (c challenger) format(r *httpError) string {
	if r.scopes == nil {
		return c.formatScope(r, c.scope)
	}
	needed := appendScopes(nil, c.toProviderScopes(r.scopes)...)
	if r.caller != nil {
		if all, ok := c.stepUp.extend(needed, r.caller); ok {
			if h := c.formatScope(r, strings.Join(all, " ")); len(h) <= maxStepUpBytes {
				return h
			}
		}
	}
	return c.formatScope(r, strings.Join(needed, " "))
}

// formatScope returns the challenge with the given scope parameter.
func (c challenger) formatScope(r *httpError, scope string) string {
	var h strings.Builder
	h.Grow(len(c.signIn) + len(scope) + 200)
	h.WriteString(c.prefix)
	if r.code != "" {
		writeParameter(&h, "error", r.code)
		if r.description != "" { // some parsers treat an empty value as missing
			writeParameter(&h, "error_description", r.description)
		}
	}
	if scope != "" {
		writeParameter(&h, "scope", scope)
	}
	return h.String()
}

// writeParameter appends an auth-param to a challenge that has at least one.
func writeParameter(h *strings.Builder, name, value string) {
	h.WriteString(", ")
	h.WriteString(name)
	h.WriteByte('=')
	writeQuoted(h, value)
}

// writeQuoted writes a quoted-string (RFC 9110, section 5.6.4). Bytes that a header cannot carry are
// dropped, so that no scope or text can end the header or start another parameter.
func writeQuoted(h *strings.Builder, s string) {
	h.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			h.WriteByte('\\')
			h.WriteByte(c)
		case c >= ' ' && c != 0x7f:
			h.WriteByte(c)
		}
	}
	h.WriteByte('"')
}
