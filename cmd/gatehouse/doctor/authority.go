package doctor

import (
	"context"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// authority is an issuer while its metadata are examined.
type authority struct {
	diagnostics.Authority
	prober *diagnostics.Prober
	// issuer is the check after which the metadata count.
	issuer *check
	// answers are what each place said, in their order, and documents those of them that are metadata.
	answers, documents []diagnostics.Document
	// own is the authority that the server reads, if it is another.
	own *authority
}

// authority adds the checks of one issuer's metadata. own is the authority that the server reads, if that was added before.
func (p *asked) authority(facts diagnostics.Authority, own *authority) *authority {
	a := &authority{Authority: facts, prober: p.prober, own: own}
	found := p.checks.add(check{name: "provider.metadata", subject: facts.Identifier, expected: "its metadata is at a well-known place",
		needs: p.way(facts.MetadataURLs...), run: a.read})
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
		run: func(context.Context) diagnostics.Outcome { return a.scopes(p.diagnosis.Metadata.ScopesSupported) }})
	return a
}

// read asks at all places, as the server does.
func (a *authority) read(ctx context.Context) diagnostics.Outcome {
	a.answers = a.prober.Discover(ctx, a.Authority)
	var at, notAt []string
	for _, d := range a.answers {
		switch {
		case d.Err == nil:
			at = append(at, a.short(d.Place))
			a.documents = append(a.documents, d)
		case d.Location != "":
			notAt = append(notAt, a.short(d.Place)+" ("+d.Err.Error()+" to "+providers.Quote(d.Location)+")")
		default:
			notAt = append(notAt, a.short(d.Place)+" ("+d.Err.Error()+")")
		}
	}
	if len(a.documents) == 0 {
		return a.nowhere("none at " + strings.Join(notAt, ", nor at "))
	}
	found := "at " + strings.Join(at, " and ")
	if len(notAt) > 0 {
		found += "; not at " + strings.Join(notAt, ", nor at ")
	}
	return diagnostics.OK(found)
}

// nowhere is the outcome where no place has metadata.
func (a *authority) nowhere(found string) diagnostics.Outcome {
	i := slices.IndexFunc(a.answers, func(d diagnostics.Document) bool { return d.Location != "" })
	switch {
	case !a.ForServer && !a.ForClients:
		o := diagnostics.Warning(found, "see that "+a.Setting+" is right")
		o.Stop = "there is no metadata of " + a.Identifier
		return o
	case i >= 0 && a.own != nil && a.readsOwn():
		a.documents = a.own.documents
		return diagnostics.Warning(found+"; the server reads it at "+providers.Quote(a.documents[0].Place),
			"let the provider answer at "+a.answers[i].Place+" without a redirect: clients that do not follow redirects cannot sign in")
	case i >= 0:
		fix := "let the provider answer at " + a.answers[i].Place + " without a redirect: clients that do not follow redirects cannot sign in, and this server follows none"
		if a.ForServer {
			fix += "; for this server it is enough to set provider.discovery_url to that address, if it is the provider's"
		}
		return diagnostics.Failed(found, fix)
	}
	return diagnostics.Failed(found, "write the issuer as the provider's own documentation has it ("+a.Setting+"); without metadata, clients find no sign-in")
}

// readsOwn reports whether the server has metadata of this issuer from elsewhere.
func (a *authority) readsOwn() bool {
	return len(a.own.documents) > 0 && a.Names(a.own.documents[0].Metadata.Issuer)
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
func (a *authority) compareIssuer(context.Context) diagnostics.Outcome {
	var good, old, other []diagnostics.Document
	for _, d := range a.documents {
		switch issuer := d.Metadata.Issuer; {
		case a.Names(issuer):
			good = append(good, d)
		case slices.Contains(a.Predecessors, issuer):
			old = append(old, d)
		default:
			other = append(other, d)
		}
	}
	expected := "issuer is " + strings.Join(a.Issuers, " or ")
	with := func(o diagnostics.Outcome) diagnostics.Outcome { o.Expected = expected; return o }
	switch {
	case len(other) == 0 && len(old) == 0:
		return diagnostics.OK(providers.Quote(good[0].Metadata.Issuer))
	case len(other) == 0:
		return with(diagnostics.Warning(providers.Quote(old[0].Metadata.Issuer)+", from before the migration",
			"have the provider migrate it: tokens of either are good here, but strict clients refuse to sign in"))
	}
	found := providers.Quote(other[0].Metadata.Issuer) + " at " + a.short(other[0].Place)
	if slices.ContainsFunc(a.Issuers, func(want string) bool {
		return strings.TrimRight(want, "/") == strings.TrimRight(other[0].Metadata.Issuer, "/")
	}) {
		found += ", which differs by a slash at the end, and that counts"
	}
	if len(good) > 0 {
		return with(diagnostics.Warning(found+", although right at "+a.short(good[0].Place), "have the provider's metadata corrected: clients that find the wrong one first refuse to sign in"))
	}
	if template := other[0].Metadata.Issuer; strings.Contains(template, "{") {
		return with(diagnostics.Failed(found+", which is for many tenants", "write the issuer of one tenant in "+a.Setting+
			", as its tokens have it in iss; or, for several, the issuer with {tid} in the place of the tenant, the tenants in provider.tenants, and this address in provider.discovery_url"))
	}
	return with(diagnostics.Failed(found, a.Fix))
}

// says reports whether a document of this issuer has the member.
func (a *authority) says(member func(token.PublishedMetadata) string) bool {
	return slices.ContainsFunc(a.documents, func(d diagnostics.Document) bool {
		return a.Names(d.Metadata.Issuer) && member(d.Metadata) != ""
	})
}

func (a *authority) endpoints(context.Context) diagnostics.Outcome {
	for _, d := range a.documents {
		for _, endpoint := range []struct{ name, address string }{
			{"authorization_endpoint", d.Metadata.AuthorizationEndpoint}, {"token_endpoint", d.Metadata.TokenEndpoint},
		} {
			const fix = "have the provider's metadata mended: clients begin at the one and end at the other"
			if endpoint.address == "" {
				return diagnostics.Failed("no "+endpoint.name+" at "+a.short(d.Place), fix)
			}
			if err := a.prober.CheckURL(endpoint.address); err != nil {
				return diagnostics.Failed("the "+endpoint.name+" cannot be used: "+err.Error(), fix)
			}
		}
	}
	return diagnostics.OK("for authorization and for tokens")
}

// pkce wants S256 in every document: clients read one of them and refuse without.
func (a *authority) pkce(context.Context) diagnostics.Outcome {
	for _, d := range a.documents {
		if methods := d.Metadata.CodeChallengeMethods; !slices.Contains(methods, "S256") {
			found := "no code_challenge_methods_supported"
			if len(methods) > 0 {
				found = "code_challenge_methods_supported is " + providers.Quote(strings.Join(methods, " "))
			}
			return diagnostics.Failed(found+" at "+a.short(d.Place), "switch PKCE with S256 on at the provider, and have it say so in code_challenge_methods_supported")
		}
	}
	return diagnostics.OK("S256")
}

func (a *authority) registration(context.Context) diagnostics.Outcome {
	m := a.documents[0].Metadata
	switch {
	case m.RegistrationEndpoint != "" && m.ClientIDMetadataDocuments:
		return diagnostics.OK("by registration (RFC 7591), or by a document")
	case m.RegistrationEndpoint != "":
		return diagnostics.OK("by registration (RFC 7591)")
	case m.ClientIDMetadataDocuments:
		return diagnostics.OK("by a document; older clients know only registration")
	}
	return diagnostics.Warning("neither", "register every client by hand at the provider, with its redirect URI, and give its users the client id; or switch dynamic client registration or client ID metadata documents on")
}

func (a *authority) scopes(wanted []string) diagnostics.Outcome {
	known := a.documents[0].Metadata.Scopes
	if len(known) == 0 {
		return diagnostics.OK("it does not say which it knows")
	}
	missing := slices.DeleteFunc(slices.Clone(wanted), func(scope string) bool { return slices.Contains(known, scope) })
	if len(missing) == 0 {
		return diagnostics.OK(strings.Join(wanted, " "))
	}
	return diagnostics.Warning("scopes_supported lacks "+strings.Join(missing, " "), "create these scopes at the provider, or say what it calls them in provider.scope_map, if it has one; a client that asks for an unknown scope may be turned away")
}
