package token

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"

	"gatehouse/providers"
)

// Parts are what a [Provider] is put together from.
type Parts struct {
	Verifier     *Verifier     // nil if every token is introspected
	Keys         *KeySet       // nil likewise
	Introspector *Introspector // nil if no token is introspected
	Metadata     providers.Metadata
	ScopeMap     ScopeMap
	Advertised   []string // provider.scopes_advertised
}

// Provider is a provider that is asked over the network: for its keys, about tokens, or both.
type Provider struct{ parts Parts }

// NewProvider returns a provider of these parts. Keys and Introspector must be running.
func NewProvider(parts Parts) *Provider { return &Provider{parts} }

// Verify implements [providers.Provider].
func (p *Provider) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	if p.parts.Introspector != nil && (p.parts.Verifier == nil || !looksLikeJWT(token)) {
		return p.parts.Introspector.Verify(ctx, token)
	}
	return p.parts.Verifier.Verify(ctx, token)
}

// Explain implements [Explainer]. About a token that is asked about, the answer to the question is explained.
func (p *Provider) Explain(ctx context.Context, token string, live bool) Explanation {
	if p.parts.Introspector != nil && (p.parts.Verifier == nil || !looksLikeJWT(token)) {
		return p.parts.Introspector.Explain(ctx, token, live)
	}
	return p.parts.Verifier.Explain(ctx, token, live)
}

// ExplainForLog is [Provider.Explain] without the network, for the log at level debug.
func (p *Provider) ExplainForLog(ctx context.Context, token string) slog.LogValuer {
	return p.Explain(ctx, token, false)
}

// looksLikeJWT reports whether the first part of token is a JSON object, as it is in every JWT. Opaque tokens of some issuers
// have dots too.
func looksLikeJWT(token string) bool {
	header, _, found := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(header)
	return found && err == nil && strings.HasPrefix(string(raw), "{")
}

// Metadata implements [providers.Provider].
func (p *Provider) Metadata() providers.Metadata { return p.parts.Metadata }

// ProviderScopes implements [providers.ScopeMapper].
func (p *Provider) ProviderScopes(ours []string) []string { return p.parts.ScopeMap.ToProvider(ours) }

// ReadScope implements [providers.ScopeReader].
func (p *Provider) ReadScope(inToken string) (ours []string, request string) {
	return p.parts.ScopeMap.read(inToken)
}

// AdvertisedScopes implements [providers.ScopeReader].
func (p *Provider) AdvertisedScopes() []string { return p.parts.Advertised }

// Keys implements [providers.KeyReporter]. Where tokens are introspected and the issuer publishes no usable keys, what
// is needed is the address at which to ask.
func (p *Provider) Keys() providers.KeyStatus {
	if p.parts.Keys == nil {
		return p.parts.Introspector.status()
	}
	status := p.parts.Keys.Status()
	if !status.Usable && p.parts.Introspector != nil && p.parts.Keys.unpublished() {
		introspection := p.parts.Introspector.status()
		status.Usable, status.Reason = introspection.Usable, introspection.Reason
	}
	return status
}
