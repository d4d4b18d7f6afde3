package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// provider adds the checks of whoever signs people in. embedded is the way to an issuer inside the server, nil otherwise.
func (e *examination) provider(embedded *check) {
	if !e.known {
		e.checks.add(check{name: "provider.metadata", expected: "it is known what to look at", run: func(context.Context) diagnostics.Outcome {
			return diagnostics.Skipped("this kind of provider does not say how it can be examined")
		}})
		return
	}
	watch := &clock{next: e.network.transport}
	asked := &asked{examination: e, prober: diagnostics.NewProber(e.diagnosis, watch, e.ServerInfo.UserAgent), ways: map[string]*check{}}
	if embedded == nil {
		for _, o := range e.origins() {
			asked.ways[o.url.Host] = e.reach(o)
		}
	} else {
		asked.ways[e.Config.Resource.Host()] = embedded
	}
	var own *authority
	for _, facts := range e.diagnosis.Authorities {
		a := asked.authority(facts, own)
		if facts.ForServer && own == nil {
			own = a
		}
	}
	asked.keys(own)
	asked.introspection(own)
	e.checks.add(check{name: "provider.clock", expected: fmt.Sprintf("its clock differs from this computer's by less than the leeway, %s", e.diagnosis.Leeway),
		run: func(context.Context) diagnostics.Outcome { return compareClocks(watch, e.diagnosis.Leeway) }})
	asked.examinations()
}

// asked is the provider while it is examined.
type asked struct {
	*examination
	prober *diagnostics.Prober
	// ways are the last steps on the way to each host.
	ways map[string]*check
}

// way returns the checks that a request to any of the addresses needs.
func (p *asked) way(addresses ...string) []*check {
	var needs []*check
	for _, address := range addresses {
		u, ok := originOf(address)
		if !ok {
			continue
		}
		if step := p.ways[u.Host]; step != nil && !slices.Contains(needs, step) {
			needs = append(needs, step)
		}
	}
	return needs
}

// keys adds the check of the keys, which are where a setting says or the metadata of own.
func (p *asked) keys(own *authority) {
	d := p.diagnosis
	c := check{name: "provider.keys", expected: "its keys can verify " + algorithms(d)}
	switch {
	case d.Keyless:
		c.run = func(context.Context) diagnostics.Outcome {
			return diagnostics.Skipped("no key is used: the provider is asked about every token")
		}
	case d.Keys.URL != "":
		c.subject, c.needs = d.Keys.URL, p.way(d.Keys.URL)
		c.run = func(ctx context.Context) diagnostics.Outcome { return p.readKeys(ctx, d.Keys.URL, d.Keys.Setting) }
	case own != nil:
		c.needs = []*check{own.issuer}
		c.run = func(ctx context.Context) diagnostics.Outcome {
			address, err := p.prober.KeysURL(own.Authority, own.answers)
			const fix = "set provider.jwks_url to where the keys are, or "
			namesKeys := own.says(func(m token.PublishedMetadata) string { return m.JWKSURI })
			switch {
			case err != nil && !namesKeys && d.Introspect != nil:
				return withoutKeys("the metadata names no jwks_uri")
			case err != nil && !namesKeys:
				return diagnostics.Failed("the metadata names no jwks_uri", fix+own.Setting+" to an issuer that publishes keys")
			case err != nil:
				return diagnostics.Failed(err.Error(), fix+"have the provider's metadata name an address that can be used")
			}
			return p.readKeys(ctx, address, "jwks_uri of the metadata")
		}
	default:
		return
	}
	p.checks.add(c)
}

func (p *asked) readKeys(ctx context.Context, address, from string) diagnostics.Outcome {
	keys, err := p.prober.Keys(ctx, address)
	if err != nil {
		found := err.Error()
		if len(keys.Skipped) > 0 {
			found += " (" + few(keys.Skipped) + ")"
		}
		if p.diagnosis.Introspect != nil && errors.Is(err, token.ErrNoUsableKeys) {
			return withoutKeys("at " + providers.Quote(address) + ": " + found)
		}
		return diagnostics.Failed("at "+providers.Quote(address)+": "+found, "see that this is the address of the provider's public keys ("+from+"), and that it answers with a JSON Web Key Set; until then the server answers 503 (keys_unavailable)")
	}
	wanted := p.diagnosis.Algorithms
	var shared []string
	for _, alg := range wanted {
		if slices.Contains(keys.Algorithms, string(alg)) {
			shared = append(shared, string(alg))
		}
	}
	if len(shared) == 0 {
		return diagnostics.Failed("its keys are for "+strings.Join(keys.Algorithms, " "), "let the provider sign with one of "+algorithms(p.diagnosis)+", or accept what it signs with (provider.algorithms)")
	}
	found := fmt.Sprintf("%d usable, for %s", keys.Usable, strings.Join(shared, " "))
	if len(keys.Skipped) > 0 {
		found += fmt.Sprintf("; %d left out (%s)", len(keys.Skipped), few(keys.Skipped))
	}
	if len(keys.Faulty) > 0 {
		return diagnostics.Warning(found, "have the provider replace or withdraw the faulty keys ("+few(keys.Faulty)+"): a token that one of them signs is answered 503 (keys_unavailable)")
	}
	return diagnostics.OK(found)
}

// withoutKeys is the outcome where opaque tokens are introspected and the provider publishes no keys: only
// JWTs cannot be verified.
func withoutKeys(found string) diagnostics.Outcome {
	return diagnostics.Warning(found, "set provider.introspection to always if the provider issues no JWTs, or provider.jwks_url to its keys if it does; until then the server answers 503 (keys_unavailable) to a JWT, and takes opaque tokens")
}

func algorithms(d diagnostics.Diagnosis) string {
	names := make([]string, len(d.Algorithms))
	for i, alg := range d.Algorithms {
		names[i] = string(alg)
	}
	return strings.Join(names, " or ")
}

// few joins the first of many.
func few(texts []string) string {
	if len(texts) > 3 {
		return strings.Join(texts[:3], "; ") + fmt.Sprintf("; and %d more", len(texts)-3)
	}
	return strings.Join(texts, "; ")
}

// introspection adds the check of the endpoint that is asked about tokens, if it is.
func (p *asked) introspection(own *authority) {
	d := p.diagnosis
	if d.Introspect == nil {
		return
	}
	c := check{name: "provider.introspection", expected: "it tells this server that an invented token is not good"}
	fix := "mend provider.client_id, its secret or key, and provider.introspection_auth, as the provider registered this server; until then the server answers 503 (introspection_unavailable)"
	ask := func(ctx context.Context, address string) diagnostics.Outcome {
		if err := p.prober.CheckURL(address); err != nil {
			return diagnostics.Failed("the address cannot be used: "+err.Error(), "set provider.introspection_url")
		}
		err := d.Introspect(ctx, p.prober.Client(), address)
		if errors.Is(err, token.ErrUnauthorizedWithoutCause) {
			return diagnostics.Warning(err.Error(), "see whether `gatehouse token inspect` accepts a token that the provider issued: if it does, the credentials are good, and the provider answers 401 about a token that is not active, as Gitea does; if not, "+fix)
		}
		if err != nil {
			return diagnostics.Failed(err.Error(), fix)
		}
		return diagnostics.OK("it answers this server")
	}
	if d.Introspection.URL != "" {
		c.subject, c.needs = d.Introspection.URL, p.way(d.Introspection.URL)
		c.run = func(ctx context.Context) diagnostics.Outcome { return ask(ctx, d.Introspection.URL) }
	} else if own != nil {
		c.needs = []*check{own.issuer}
		c.run = func(ctx context.Context) diagnostics.Outcome {
			address, err := p.prober.IntrospectionURL(own.Authority, own.answers)
			switch {
			case err != nil && !own.says(func(m token.PublishedMetadata) string { return m.IntrospectionEndpoint }):
				return diagnostics.Failed("the metadata names no introspection_endpoint", "set provider.introspection_url, or provider.introspection to off if the provider issues JWTs")
			case err != nil:
				return diagnostics.Failed(err.Error(), "set provider.introspection_url")
			}
			return ask(ctx, address)
		}
	}
	p.checks.add(c)
}

// compareClocks is as severe as the verifier: beyond the leeway, tokens are refused that were just issued, or accepted that
// are over.
func compareClocks(watch *clock, leeway time.Duration) diagnostics.Outcome {
	ahead, ok := watch.read()
	if !ok {
		return diagnostics.Skipped("nobody answered with a Date header")
	}
	found := fmt.Sprintf("less than %s apart", ahead.Abs().Truncate(time.Second)+time.Second)
	if ahead.Abs() < leeway {
		return diagnostics.OK(found)
	}
	where := "ahead"
	if ahead < 0 {
		where = "behind"
	}
	return diagnostics.Failed(fmt.Sprintf("the provider's clock is %s %s", ahead.Abs().Round(time.Second), where), "set the clock of this computer by NTP (or the provider's): tokens are refused as token_not_yet_valid or token_expired")
}

// examinations adds what only this kind of provider can be asked.
func (p *asked) examinations() {
	byName := map[string]*check{}
	for _, x := range p.diagnosis.Checks {
		c := check{name: x.Name, expected: x.Expected, run: func(ctx context.Context) diagnostics.Outcome { return x.Run(ctx, p.prober.Client()) }}
		for _, need := range x.Needs {
			if earlier := byName[need]; earlier != nil {
				c.needs = append(c.needs, earlier)
			}
		}
		if len(c.needs) == 0 {
			for _, o := range p.origins() {
				if o.needed {
					c.needs = append(c.needs, p.way(o.url.String())...)
				}
			}
		}
		byName[x.Name] = p.checks.add(c)
	}
}
