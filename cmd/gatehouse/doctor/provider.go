package doctor

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/providers/diagnostics"
)

// providerChecks are the checks of the identity provider.
type providerChecks struct {
	*examination
	prober *diagnostics.Prober
	clock  *diagnostics.Clock
	// reachable are the last steps of connecting to each host.
	reachable map[string]*check
	// authorities are the checks of metadata, by identifier.
	authorities map[string]*authorityChecks
}

// addProviderChecks adds the checks of the identity provider. An embedded issuer is reachable after the check
// server; otherwise that is nil.
func (e *examination) addProviderChecks(server *check) {
	clockHost := "" // of whatever answers last
	if server != nil {
		clockHost = e.Settings.Resource.Host()
	}
	clock := diagnostics.NewClock(e.network.transport, clockHost)
	p := &providerChecks{
		examination: e, clock: clock, reachable: map[string]*check{}, authorities: map[string]*authorityChecks{},
		prober: diagnostics.NewProber(e.diagnosis, clock, e.ServerInfo.UserAgent),
	}
	if e.generic {
		e.checks.add(check{
			name: "provider.diagnosis", expected: "this kind of provider has checks of its own", run: e.hasDiagnosis,
		})
	}
	if server != nil {
		p.reachable[e.Settings.Resource.Host()] = server
	}
	for _, o := range e.origins() {
		if p.reachable[o.url.Host] == nil {
			p.reachable[o.url.Host] = e.addReachChecks(o)
		}
	}
	var forServer *authorityChecks
	for _, facts := range e.diagnosis.Authorities {
		a := p.addAuthority(facts, forServer)
		p.authorities[facts.Identifier] = a
		if facts.ForServer && forServer == nil {
			forServer = a
		}
	}
	if e.generic {
		return // keys, introspection and leeway are unknown
	}
	p.addKeys(forServer)
	p.addIntrospection(forServer)
	e.checks.add(check{
		name: "provider.clock", run: p.compareClocks,
		expected: fmt.Sprintf("its clock differs from this computer's by less than the leeway, %s",
			e.diagnosis.Leeway),
	})
	e.addSealedFileCheck()
	p.addOwn()
}

// hasDiagnosis warns that a kind without a diagnosis is checked by its metadata only.
func (e *examination) hasDiagnosis(context.Context) diagnostics.Outcome {
	if e.openError != nil {
		return diagnostics.Failed("the provider cannot be set up: "+e.openError.Error(),
			"fix the provider's settings; the server does not start with them")
	}
	return diagnostics.Warning("kind "+e.Settings.Kind+" has none: only its metadata and authorization servers "+
		"are checked, not how this server verifies tokens",
		"try a token with `gatehouse doctor --token-file FILE`; a kind gets checks by a method Diagnose "+
			"(diagnostics.Diagnoser)")
}

// connections returns the checks that a request to any of the addresses needs.
func (p *providerChecks) connections(addresses ...string) []*check {
	var needs []*check
	for _, address := range addresses {
		u, ok := originOf(address)
		if !ok {
			continue
		}
		if step := p.reachable[u.Host]; step != nil && !slices.Contains(needs, step) {
			needs = append(needs, step)
		}
	}
	return needs
}

// compareClocks fails beyond the leeway: the verifier then refuses new tokens, or accepts expired ones.
func (p *providerChecks) compareClocks(context.Context) diagnostics.Outcome {
	return p.clock.Compare(p.diagnosis.Leeway, "the provider's",
		"tokens are refused as token_not_yet_valid or token_expired")
}

// addOwn adds the checks that only this kind of provider has.
func (p *providerChecks) addOwn() {
	byName := map[string]*check{}
	for _, own := range p.diagnosis.Checks {
		c := check{name: own.Name, subject: own.Subject, expected: own.Expected,
			run: func(ctx context.Context) diagnostics.Outcome { return own.Run(ctx, p.prober.Client()) }}
		if a := p.authorities[own.Authority]; a != nil {
			c.needs = append(c.needs, a.issuer)
		}
		for _, need := range own.Needs {
			if earlier := byName[need]; earlier != nil {
				c.needs = append(c.needs, earlier)
			}
		}
		if len(c.needs) == 0 && !own.Offline {
			for _, o := range p.origins() {
				if o.needed {
					c.needs = append(c.needs, p.connections(o.url.String())...)
				}
			}
		}
		byName[own.Name] = p.checks.add(c)
	}
}
