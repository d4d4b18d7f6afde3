package providers

import (
	"context"
	"encoding/base64"
	"strings"
)

// remote is a provider that is asked over the network: for its keys, about tokens, or both.
type remote struct {
	verifier     *Verifier     // nil if every token is asked about
	keys         *KeySet       // nil likewise
	introspector *introspector // nil if no token is
	metadata     Metadata
	names        ScopeNames
	advertised   []string // provider.scopes_advertised
}

// Verify implements [Provider].
func (p *remote) Verify(ctx context.Context, token string) (*Identity, error) {
	if p.introspector != nil && (p.verifier == nil || !looksLikeJWT(token)) {
		return p.introspector.Verify(ctx, token)
	}
	return p.verifier.Verify(ctx, token)
}

// Explain implements [Explainer]. About a token that is asked about, the answer to the question is explained.
func (p *remote) Explain(ctx context.Context, token string, live bool) Explanation {
	if p.introspector != nil && (p.verifier == nil || !looksLikeJWT(token)) {
		return p.introspector.Explain(ctx, token, live)
	}
	return p.verifier.Explain(ctx, token, live)
}

// looksLikeJWT reports whether the first part of token is a JSON object, as it is in every JWT. Opaque tokens of some issuers
// have dots too.
func looksLikeJWT(token string) bool {
	header, _, found := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(header)
	return found && err == nil && strings.HasPrefix(string(raw), "{")
}

// Metadata implements [Provider].
func (p *remote) Metadata() Metadata { return p.metadata }

// SpellScopes implements [ScopeSpeller].
func (p *remote) SpellScopes(ours []string) []string { return p.names.theirs(ours) }

// ReadScope implements [ScopeReader].
func (p *remote) ReadScope(inToken string) (ours []string, request string) {
	return p.names.read(inToken)
}

// AdvertisedScopes implements [ScopeReader].
func (p *remote) AdvertisedScopes() []string { return p.advertised }

// Keys implements [KeyReporter]. Where tokens are introspected and the issuer publishes no usable keys, what
// is needed is the address at which to ask.
func (p *remote) Keys() KeyStatus {
	if p.keys == nil {
		return p.introspector.status()
	}
	status := p.keys.Status()
	if !status.Usable && p.introspector != nil && p.keys.unpublished() {
		introspection := p.introspector.status()
		status.Usable, status.Reason = introspection.Usable, introspection.Reason
	}
	return status
}
