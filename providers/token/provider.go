package token

import (
	"context"
	"log/slog"

	"gatehouse/providers"
)

// Parts are the parts of a [Provider].
type Parts struct {
	Verifier     *Verifier     // nil if every token is introspected
	Keys         *KeySet       // nil if every token is introspected
	Introspector *Introspector // nil if no token is introspected
	Metadata     providers.Metadata
	ScopeMap     ScopeMap
	Advertised   []string // provider.scopes_advertised
}

// Provider is a provider that is reached over the network: it verifies tokens with the issuer's keys,
// introspects them, or both.
type Provider struct{ parts Parts }

// NewProvider returns a provider made of these parts. Keys and Introspector must be running.
func NewProvider(parts Parts) *Provider { return &Provider{parts} }

// Verify implements [providers.Provider].
func (p *Provider) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	if p.introspects(token) {
		return p.parts.Introspector.Verify(ctx, token)
	}
	return p.parts.Verifier.Verify(ctx, token)
}

// introspects reports whether token is introspected rather than verified locally.
func (p *Provider) introspects(token string) bool {
	return p.parts.Introspector != nil && (p.parts.Verifier == nil || !looksLikeJWT(token))
}

// Explain implements [Explainer]. For a token that is introspected, it explains the response.
func (p *Provider) Explain(ctx context.Context, token string, live bool) Explanation {
	if p.introspects(token) {
		return p.parts.Introspector.Explain(ctx, token, live)
	}
	return p.parts.Verifier.Explain(ctx, token, live)
}

// ExplainForLog is [Provider.Explain] without network access, for the log at level debug.
func (p *Provider) ExplainForLog(ctx context.Context, token string) slog.LogValuer {
	return p.Explain(ctx, token, false)
}

// Metadata implements [providers.Provider].
func (p *Provider) Metadata() providers.Metadata { return p.parts.Metadata }

// WithMetadata returns a provider with other metadata that has the same keys and caches.
func (p *Provider) WithMetadata(m providers.Metadata) *Provider {
	parts := p.parts
	parts.Metadata = m
	return &Provider{parts}
}

// ProviderScopes implements [providers.ScopeMapper].
func (p *Provider) ProviderScopes(local []string) []string { return p.parts.ScopeMap.ToProvider(local) }

// ReadScope implements [providers.ScopeReader].
func (p *Provider) ReadScope(inToken string) (local []string, request string) {
	return p.parts.ScopeMap.readScope(inToken)
}

// AdvertisedScopes implements [providers.ScopeReader].
func (p *Provider) AdvertisedScopes() []string { return p.parts.Advertised }

// Tokens implements [providers.TokenReporter].
func (p *Provider) Tokens() providers.TokenStatus {
	var all providers.TokenStatus
	add := func(one providers.TokenStatus) {
		all.Cached, all.Limit = all.Cached+one.Cached, all.Limit+one.Limit
		all.FromCache, all.Checked = all.FromCache+one.FromCache, all.Checked+one.Checked
	}
	if p.parts.Verifier != nil {
		add(p.parts.Verifier.cache.status())
	}
	if p.parts.Introspector != nil {
		add(p.parts.Introspector.cache.status())
	}
	return all
}

// Keys implements [providers.KeyReporter]. An issuer whose tokens are introspected need not publish keys; the
// address of its introspection endpoint must be known then.
func (p *Provider) Keys() providers.KeyStatus {
	if p.parts.Keys == nil {
		return p.parts.Introspector.status()
	}
	status := p.parts.Keys.Status()
	if !status.Usable && p.parts.Introspector != nil && p.parts.Keys.publishesNone() {
		introspection := p.parts.Introspector.status()
		status.Usable, status.Reason = introspection.Usable, introspection.Reason
	}
	return status
}
