package doctor

import (
	"context"
	"slices"
	"strings"
	"sync"

	"gatehouse/providers"
)

// authority is an issuer while its metadata are examined.
type authority struct {
	providers.Authority
	examiner *providers.Examiner
	// issuer is the check after which the metadata count.
	issuer *check
	// documents are what was found, in the order of the places.
	documents []document
}

type document struct {
	place    string
	metadata providers.PublishedMetadata
	err      error
}

// authority adds the checks of one issuer's metadata.
func (p *asked) authority(facts providers.Authority) *authority {
	a := &authority{Authority: facts, examiner: p.examiner}
	found := p.checks.add(check{name: "provider.metadata", subject: facts.Identifier, expected: "its metadata is at a well-known place",
		needs: p.way(facts.Places...), run: a.read})
	a.issuer = p.checks.add(check{name: "provider.issuer", subject: facts.Identifier, expected: "its metadata names it as the issuer, byte for byte",
		needs: []*check{found}, run: a.compareIssuer})
	if !facts.ForClients {
		return a
	}
	needs := []*check{a.issuer}
	p.checks.add(check{name: "provider.endpoints", subject: facts.Identifier, expected: "it has an authorization and a token endpoint", needs: needs, run: a.endpoints})
	p.checks.add(check{name: "provider.pkce", subject: facts.Identifier, expected: "it announces PKCE with S256, without which MCP clients refuse to sign in", needs: needs, run: a.pkce})
	p.checks.add(check{name: "provider.registration", subject: facts.Identifier, expected: "clients can register themselves, or describe themselves by a document", needs: needs, run: a.registration})
	p.checks.add(check{name: "provider.scopes", subject: facts.Identifier, expected: "it knows the scopes that clients are told to ask for", needs: needs,
		run: func(context.Context) providers.Outcome { return a.scopes(p.diagnosis.Metadata.ScopesSupported) }})
	return a
}

// read asks at all places at once: a place that hangs must not hide what stands at the next.
func (a *authority) read(ctx context.Context) providers.Outcome {
	all := make([]document, len(a.Places))
	var wg sync.WaitGroup
	for i, place := range a.Places {
		wg.Go(func() {
			metadata, err := a.examiner.Metadata(ctx, place)
			all[i] = document{place, metadata, err}
		})
	}
	wg.Wait()
	var at, notAt []string
	for _, d := range all {
		if d.err != nil {
			notAt = append(notAt, a.short(d.place)+" ("+d.err.Error()+")")
			continue
		}
		at = append(at, a.short(d.place))
		a.documents = append(a.documents, d)
	}
	if len(a.documents) == 0 {
		found := "none at " + strings.Join(notAt, ", nor at ")
		if !a.ForServer && !a.ForClients {
			o := providers.Doubtful(found, "see that "+a.Setting+" is right")
			o.Stop = "there is no metadata of " + a.Identifier
			return o
		}
		return providers.Broken(found, "write the issuer as the provider's own documentation has it ("+a.Setting+"); without metadata, clients find no sign-in")
	}
	found := "at " + strings.Join(at, " and ")
	if len(notAt) > 0 {
		found += "; not at " + strings.Join(notAt, ", nor at ")
	}
	return providers.Fine(found)
}

// short leaves out what all places have in common.
func (a *authority) short(place string) string {
	u, ok := originOf(a.Identifier)
	if !ok {
		return place
	}
	return strings.TrimPrefix(place, u.String())
}

// compareIssuer looks at every document: clients take the first they find and compare (RFC 8414, section 3.3).
func (a *authority) compareIssuer(context.Context) providers.Outcome {
	var good, old, other []document
	for _, d := range a.documents {
		switch issuer := d.metadata.Issuer; {
		case a.Names(issuer):
			good = append(good, d)
		case slices.Contains(a.Predecessors, issuer):
			old = append(old, d)
		default:
			other = append(other, d)
		}
	}
	expected := "issuer is " + strings.Join(a.Issuers, " or ")
	with := func(o providers.Outcome) providers.Outcome { o.Expected = expected; return o }
	switch {
	case len(other) == 0 && len(old) == 0:
		return providers.Fine(providers.Quote(good[0].metadata.Issuer))
	case len(other) == 0:
		return with(providers.Doubtful(providers.Quote(old[0].metadata.Issuer)+", from before the migration",
			"have the provider migrate it: tokens of either are good here, but strict clients refuse to sign in"))
	}
	found := providers.Quote(other[0].metadata.Issuer) + " at " + a.short(other[0].place)
	if slices.ContainsFunc(a.Issuers, func(want string) bool {
		return strings.TrimRight(want, "/") == strings.TrimRight(other[0].metadata.Issuer, "/")
	}) {
		found += ", which differs by a slash at the end, and that counts"
	}
	if len(good) > 0 {
		return with(providers.Doubtful(found+", although right at "+a.short(good[0].place), "mend the provider's metadata: clients that find the wrong one first refuse to sign in"))
	}
	return with(providers.Broken(found, a.WayOut))
}

// address returns what the first document of this very issuer says, as the server looks it up.
func (a *authority) address(member func(providers.PublishedMetadata) string) string {
	for _, d := range a.documents {
		if a.Names(d.metadata.Issuer) && member(d.metadata) != "" {
			return member(d.metadata)
		}
	}
	return ""
}

func (a *authority) endpoints(context.Context) providers.Outcome {
	for _, d := range a.documents {
		for _, endpoint := range []struct{ name, address string }{
			{"authorization_endpoint", d.metadata.AuthorizationEndpoint}, {"token_endpoint", d.metadata.TokenEndpoint},
		} {
			const fix = "have the provider's metadata mended: clients begin at the one and end at the other"
			if endpoint.address == "" {
				return providers.Broken("no "+endpoint.name+" at "+a.short(d.place), fix)
			}
			if reason := a.examiner.Refuses(endpoint.address); reason != "" {
				return providers.Broken("the "+endpoint.name+" cannot be used: "+reason, fix)
			}
		}
	}
	return providers.Fine("for authorization and for tokens")
}

// pkce wants S256 in every document: clients read one of them and refuse without.
func (a *authority) pkce(context.Context) providers.Outcome {
	for _, d := range a.documents {
		if methods := d.metadata.CodeChallengeMethods; !slices.Contains(methods, "S256") {
			found := "no code_challenge_methods_supported"
			if len(methods) > 0 {
				found = "code_challenge_methods_supported is " + providers.Quote(strings.Join(methods, " "))
			}
			return providers.Broken(found+" at "+a.short(d.place), "switch PKCE with S256 on at the provider, and have it say so in code_challenge_methods_supported")
		}
	}
	return providers.Fine("S256")
}

func (a *authority) registration(context.Context) providers.Outcome {
	m := a.documents[0].metadata
	switch {
	case m.RegistrationEndpoint != "" && m.ClientIDMetadataDocuments:
		return providers.Fine("by registration (RFC 7591), or by a document")
	case m.RegistrationEndpoint != "":
		return providers.Fine("by registration (RFC 7591)")
	case m.ClientIDMetadataDocuments:
		return providers.Fine("by a document; older clients know only registration")
	}
	return providers.Doubtful("neither", "register every client by hand at the provider, with its redirect URI, and give its users the client id; or switch dynamic client registration or client ID metadata documents on")
}

func (a *authority) scopes(wanted []string) providers.Outcome {
	known := a.documents[0].metadata.Scopes
	if len(known) == 0 {
		return providers.Fine("it does not say which it knows")
	}
	missing := slices.DeleteFunc(slices.Clone(wanted), func(scope string) bool { return slices.Contains(known, scope) })
	if len(missing) == 0 {
		return providers.Fine(strings.Join(wanted, " "))
	}
	return providers.Doubtful("scopes_supported lacks "+strings.Join(missing, " "), "create these scopes at the provider, or say what it calls them in provider.scope_map, if it has one; a client that asks for an unknown scope may be turned away")
}
