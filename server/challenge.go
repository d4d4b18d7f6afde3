package server

import (
	"strings"

	"gatehouse/providers"
)

// realm is what the template that people come from sends; clients do not look at it.
const realm = "OAuth"

// challenger writes WWW-Authenticate (RFC 9110, section 11.6.1; RFC 6750, section 3; RFC 9728, section 5.1). All parts
// come from the configuration, never from the request: a Host header that made it into resource_metadata would send
// clients to somebody else's sign-in.
type challenger struct {
	prefix string // scheme, realm and resource_metadata, the same in every challenge
	scope  string // what first sign-in asks for
	// spell gives scopes the names that clients must ask the provider for.
	spell func(scopes []string) []string
}

func newChallenger(resource providers.Resource, p providers.Provider) challenger {
	c := challenger{
		prefix: `Bearer realm=` + quoted(realm) + `, resource_metadata=` + quoted(resource.MetadataURL()),
		spell:  func(scopes []string) []string { return scopes },
	}
	if p == nil {
		return c
	}
	c.scope = strings.Join(p.Metadata().ScopesSupported, " ")
	if speller, ok := p.(providers.ScopeSpeller); ok {
		c.spell = speller.SpellScopes
	}
	return c
}

func (c challenger) header(r *refusal) string {
	h := c.prefix
	if r.code != "" {
		h += `, error=` + quoted(r.code)
		if r.text != "" { // some parsers take an empty value for none
			h += `, error_description=` + quoted(r.text)
		}
	}
	scope := c.scope
	if r.scopes != nil {
		scope = strings.Join(c.spell(r.scopes), " ")
	}
	if scope != "" {
		h += `, scope=` + quoted(scope)
	}
	return h
}

// quoted is a quoted-string (RFC 9110, section 5.6.4). Bytes that a header cannot carry are dropped, so that no scope or
// text can end the header or begin another parameter.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ' && c != 0x7f:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
