package providers

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
)

// Parts are what a [RemoteProvider] is put together from.
type Parts struct {
	Verifier     *Verifier     // nil if every token is introspected
	Keys         *KeySet       // nil likewise
	Introspector *introspector // nil if no token is introspected
	Metadata     Metadata
	ScopeNames   ScopeNames
	Advertised   []string // provider.scopes_advertised
}

// RemoteProvider is a provider that is asked over the network: for its keys, about tokens, or both.
type RemoteProvider struct{ parts Parts }

// NewProvider returns a provider of these parts. Keys and Introspector must be running.
func NewProvider(parts Parts) *RemoteProvider { return &RemoteProvider{parts} }

// Verify implements [Provider].
func (p *RemoteProvider) Verify(ctx context.Context, token string) (*Identity, error) {
	if p.parts.Introspector != nil && (p.parts.Verifier == nil || !looksLikeJWT(token)) {
		return p.parts.Introspector.Verify(ctx, token)
	}
	return p.parts.Verifier.Verify(ctx, token)
}

// Explain implements [Explainer]. About a token that is asked about, the answer to the question is explained.
func (p *RemoteProvider) Explain(ctx context.Context, token string, live bool) Explanation {
	if p.parts.Introspector != nil && (p.parts.Verifier == nil || !looksLikeJWT(token)) {
		return p.parts.Introspector.Explain(ctx, token, live)
	}
	return p.parts.Verifier.Explain(ctx, token, live)
}

// ExplainForLog is [RemoteProvider.Explain] without the network, for the log at level debug.
func (p *RemoteProvider) ExplainForLog(ctx context.Context, token string) slog.LogValuer {
	return p.Explain(ctx, token, false)
}

// looksLikeJWT reports whether the first part of token is a JSON object, as it is in every JWT. Opaque tokens of some issuers
// have dots too.
func looksLikeJWT(token string) bool {
	header, _, found := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(header)
	return found && err == nil && strings.HasPrefix(string(raw), "{")
}

// Metadata implements [Provider].
func (p *RemoteProvider) Metadata() Metadata { return p.parts.Metadata }

// SpellScopes implements [ScopeSpeller].
func (p *RemoteProvider) SpellScopes(ours []string) []string { return p.parts.ScopeNames.theirs(ours) }

// ReadScope implements [ScopeReader].
func (p *RemoteProvider) ReadScope(inToken string) (ours []string, request string) {
	return p.parts.ScopeNames.read(inToken)
}

// AdvertisedScopes implements [ScopeReader].
func (p *RemoteProvider) AdvertisedScopes() []string { return p.parts.Advertised }

// Keys implements [KeyReporter]. Where tokens are introspected and the issuer publishes no usable keys, what
// is needed is the address at which to ask.
func (p *RemoteProvider) Keys() KeyStatus {
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
