package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// addKeys adds the check of the keys. Their address is a setting, or in the metadata of forServer.
func (p *providerChecks) addKeys(forServer *authorityChecks) {
	d := p.diagnosis
	c := check{name: "provider.keys", expected: "its keys can verify " + algorithmNames(d)}
	switch {
	case d.Keyless:
		c.run = func(context.Context) diagnostics.Outcome {
			return diagnostics.Skipped("no key is used: every token is introspected")
		}
	case d.Keys.URL != "":
		c.subject, c.needs = d.Keys.URL, p.connections(d.Keys.URL)
		c.run = func(ctx context.Context) diagnostics.Outcome { return p.readKeys(ctx, d.Keys.URL, d.Keys.Setting) }
	case forServer != nil:
		c.needs = []*check{forServer.issuer}
		c.run = func(ctx context.Context) diagnostics.Outcome { return p.discoverKeys(ctx, forServer) }
	default:
		return
	}
	p.checks.add(c)
}

// discoverKeys reads the keys at the address in the metadata of a.
func (p *providerChecks) discoverKeys(ctx context.Context, a *authorityChecks) diagnostics.Outcome {
	address, err := p.prober.KeysURL(a.Authority, a.responses)
	const (
		fix    = "set provider.jwks_url to the address of the keys, or "
		noneIn = "the metadata names no jwks_uri"
	)
	hasURI := a.publishes(func(m token.PublishedMetadata) string { return m.JWKSURI })
	switch {
	case err != nil && !hasURI && p.diagnosis.Introspect != nil:
		return noKeys(noneIn)
	case err != nil && !hasURI:
		return diagnostics.Failed(noneIn, fix+a.Setting+" to an issuer that publishes keys")
	case err != nil:
		return diagnostics.Failed(err.Error(), cmp.Or(
			plainHTTPFix(a.published(func(m token.PublishedMetadata) string { return m.JWKSURI }), "provider.jwks_url"),
			fix+"have the provider publish an address that can be used"))
	}
	return p.readKeys(ctx, address, "jwks_uri of the metadata")
}

func (p *providerChecks) readKeys(ctx context.Context, address, setting string) diagnostics.Outcome {
	keys, err := p.prober.Keys(ctx, address)
	if err != nil {
		found := "at " + providers.Quote(providers.RedactURL(address)) + ": " + err.Error()
		if len(keys.Skipped) > 0 {
			found += " (" + joinFirst(keys.Skipped) + ")"
		}
		if p.diagnosis.Introspect != nil && errors.Is(err, token.ErrNoUsableKeys) {
			return noKeys(found)
		}
		if p.diagnosis.Embedded {
			return diagnostics.Failed(found, "see server.ready, and the server's log; a proxy in front must forward this path "+
				"unchanged")
		}
		return p.keysFailed(ctx, err, address, diagnostics.Failed(found,
			"check that this is the address of the provider's public keys ("+setting+
				"), and that it serves a JSON Web Key Set; until then the server answers 503 (keys_unavailable)"))
	}
	var shared []string
	for _, alg := range p.diagnosis.Algorithms {
		if slices.Contains(keys.Algorithms, string(alg)) {
			shared = append(shared, string(alg))
		}
	}
	if len(shared) == 0 {
		return diagnostics.Failed("its keys are for "+strings.Join(keys.Algorithms, " "),
			"have the provider sign with one of "+algorithmNames(p.diagnosis)+
				", or accept its algorithm (provider.algorithms)")
	}
	found := fmt.Sprintf("%d usable, for %s", keys.Usable, strings.Join(shared, " "))
	if len(keys.Skipped) > 0 {
		found += fmt.Sprintf("; %d skipped (%s)", len(keys.Skipped), joinFirst(keys.Skipped))
	}
	if len(keys.Faulty) > 0 {
		return diagnostics.Warning(found, "have the provider replace or withdraw the faulty keys ("+
			joinFirst(keys.Faulty)+"): a token signed by one of them is answered 503 (keys_unavailable)")
	}
	return diagnostics.OK(found)
}

// noKeys is the outcome if the provider publishes no keys, but opaque tokens are introspected: only JWTs
// cannot be verified.
func noKeys(found string) diagnostics.Outcome {
	return diagnostics.Warning(found, "set provider.introspection to always if the provider issues no JWTs, or "+
		"provider.jwks_url to its keys if it does; until then the server answers 503 (keys_unavailable) to a JWT, "+
		"and accepts opaque tokens")
}

func algorithmNames(d diagnostics.Diagnosis) string {
	names := make([]string, len(d.Algorithms))
	for i, alg := range d.Algorithms {
		names[i] = string(alg)
	}
	return strings.Join(names, " or ")
}

// joinFirst joins the first three texts, and says how many more there are.
func joinFirst(texts []string) string {
	if len(texts) > 3 {
		return strings.Join(texts[:3], "; ") + fmt.Sprintf("; and %d more", len(texts)-3)
	}
	return strings.Join(texts, "; ")
}

// addIntrospection adds the check of the introspection endpoint, if tokens are introspected. Its address is a
// setting, or in the metadata of forServer.
func (p *providerChecks) addIntrospection(forServer *authorityChecks) {
	d := p.diagnosis
	if d.Introspect == nil {
		return
	}
	c := check{
		name:     "provider.introspection",
		expected: "it accepts this server's credentials and calls a random token inactive",
	}
	if address := d.Introspection.URL; address != "" {
		c.subject, c.needs = address, p.connections(address)
		c.run = func(ctx context.Context) diagnostics.Outcome { return p.introspect(ctx, address) }
	} else if forServer != nil {
		c.needs = []*check{forServer.issuer}
		c.run = func(ctx context.Context) diagnostics.Outcome {
			address, err := p.prober.IntrospectionURL(forServer.Authority, forServer.responses)
			endpoint := func(m token.PublishedMetadata) string { return m.IntrospectionEndpoint }
			switch {
			case err != nil && !forServer.publishes(endpoint):
				return diagnostics.Failed("the metadata names no introspection_endpoint",
					"set provider.introspection_url, or provider.introspection to off if the provider issues JWTs")
			case err != nil:
				return diagnostics.Failed(err.Error(), cmp.Or(
					plainHTTPFix(forServer.published(endpoint), "provider.introspection_url"),
					"set provider.introspection_url to an address that this server may use"))
			}
			return p.introspect(ctx, address)
		}
	} else {
		return
	}
	p.checks.add(c)
}

func (p *providerChecks) introspect(ctx context.Context, address string) diagnostics.Outcome {
	if err := p.prober.CheckURL(address); err != nil {
		return diagnostics.Failed("the address cannot be used: "+err.Error(), cmp.Or(
			plainHTTPFix(address, "provider.introspection_url"),
			"set provider.introspection_url to an address that this server may use"))
	}
	const fix = "set provider.client_id, its secret or key, and provider.introspection_auth as this server is " +
		"registered at the provider; until then the server answers 503 (introspection_unavailable)"
	err := p.diagnosis.Introspect(ctx, p.prober.Client(), address)
	switch {
	case errors.Is(err, token.ErrUnauthorizedWithoutCause):
		return diagnostics.Warning(err.Error(),
			"run `gatehouse token inspect` with a token that the provider issued: "+
				"if it is accepted, the credentials are right, and the provider answers 401 for inactive tokens, as Gitea "+
				"does; if not, "+fix)
	case err != nil && p.speaksTLS(ctx, address):
		return diagnostics.Failed("it speaks TLS, and the address is plain http",
			"write https:// instead of http:// in provider.introspection_url")
	case err != nil:
		return diagnostics.Failed(err.Error(), fix)
	}
	return diagnostics.OK("it responds as expected")
}
