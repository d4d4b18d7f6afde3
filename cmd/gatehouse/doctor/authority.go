package doctor

import (
	"context"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// authorityChecks are the checks of the metadata of one issuer.
type authorityChecks struct {
	diagnostics.Authority
	*providerChecks
	// issuer is the check that the metadata belongs to this issuer.
	issuer *check
	// content are the checks of what the metadata contains for clients.
	content []*check
	// responses are those of all metadata URLs, in their order; documents are the ones with metadata.
	responses, documents []diagnostics.Document
	// forServer is the authority that the server reads, if that is another one; otherwise nil.
	forServer *authorityChecks
}

// addAuthority adds the checks of one issuer. forServer is the authority that the server reads, if it was
// added before.
func (p *providerChecks) addAuthority(
	facts diagnostics.Authority, forServer *authorityChecks,
) *authorityChecks {
	a := &authorityChecks{Authority: facts, providerChecks: p, forServer: forServer}
	add := func(name, expected string, needs []*check, run runFunc) *check {
		return p.checks.add(check{
			name: name, subject: facts.Identifier, expected: expected, needs: needs, run: run,
		})
	}
	metadata := add("provider.metadata", "its metadata is at a well-known URL",
		p.connections(facts.MetadataURLs...), a.metadata)
	a.issuer = add("provider.issuer", "its metadata names it as the issuer, byte for byte",
		[]*check{metadata}, a.compareIssuer)
	if !facts.ForClients {
		return a
	}
	needs := []*check{a.issuer}
	a.content = []*check{
		a.issuer,
		add("provider.endpoints", "it has an authorization endpoint and a token endpoint", needs, a.endpoints),
		add("provider.pkce", "it announces PKCE with S256, without which MCP clients refuse to sign in", needs,
			a.pkce),
	}
	add("provider.clients", "clients find its metadata, requested as they do", needs, a.clients)
	add("provider.registration", "clients can register, or use a client ID metadata document",
		needs, a.registration)
	add("provider.scopes", "it supports the scopes that clients request", needs,
		func(context.Context) diagnostics.Outcome { return a.scopes(p.diagnosis.Metadata.ScopesSupported) })
	if p.diagnosis.FreeRegistration {
		add("provider.consent", "a client registers, and the page on which people approve its request arrives unchanged",
			needs, a.consent)
	}
	return a
}

// metadata requests the metadata at all of its URLs, as the server does.
func (a *authorityChecks) metadata(ctx context.Context) diagnostics.Outcome {
	a.responses = a.prober.Discover(ctx, a.Authority)
	var found, notFound []string
	for _, d := range a.responses {
		switch {
		case d.Err == nil:
			found = append(found, a.relative(d.URL))
			a.documents = append(a.documents, d)
		case d.Location != "":
			notFound = append(notFound, a.relative(d.URL)+" ("+d.Err.Error()+" to "+providers.Quote(d.Location)+")")
		default:
			notFound = append(notFound, a.relative(d.URL)+" ("+d.Err.Error()+")")
		}
	}
	if len(a.documents) == 0 {
		return a.noMetadata(ctx, "none at "+strings.Join(notFound, ", nor at "))
	}
	text := "at " + strings.Join(found, " and ")
	if len(notFound) > 0 {
		text += "; not at " + strings.Join(notFound, ", nor at ")
	}
	return diagnostics.OK(text)
}

// noMetadata is the outcome if no URL has metadata.
func (a *authorityChecks) noMetadata(ctx context.Context, found string) diagnostics.Outcome {
	i := slices.IndexFunc(a.responses, func(d diagnostics.Document) bool { return d.Location != "" })
	const withoutRedirect = " without a redirect: clients that follow none cannot sign in"
	switch {
	case !a.ForServer && !a.ForClients:
		o := diagnostics.Warning(found, "check "+a.Setting)
		o.Stop = "there is no metadata of " + a.Identifier
		return o
	case i >= 0 && a.forServer != nil && a.serverHasMetadata():
		a.documents = a.forServer.documents
		return diagnostics.Warning(found+"; the server reads it at "+providers.Quote(a.documents[0].URL),
			"have the provider respond at "+a.responses[i].URL+withoutRedirect)
	case i >= 0 && a.diagnosis.Embedded && !a.ForClients:
		return diagnostics.Failed(found, "have the provider respond at "+a.responses[i].URL+" without a redirect: this "+
			"server follows none")
	case i >= 0:
		fix := "have the provider respond at " + a.responses[i].URL + withoutRedirect +
			", and neither can this server"
		if a.ForServer && !a.diagnosis.Embedded {
			fix += "; for this server alone, set provider.discovery_url to that address, if it is the provider's"
		}
		return diagnostics.Failed(found, fix)
	}
	refusals := a.refusalsOf(ctx, acceptMetadata, a.MetadataURLs...)
	if cause, fix, ok := a.causeFix(refusals, a.Setting, "/.well-known/"); ok {
		return diagnostics.Failed(cause+"; "+found, fix)
	}
	return diagnostics.Failed(found, "set the issuer as the provider's documentation has it ("+a.Setting+
		"); without metadata, "+a.loss())
}

// loss is what does not work without the metadata.
func (a *authorityChecks) loss() string {
	if a.ForClients || !a.diagnosis.Embedded {
		return "clients cannot sign in"
	}
	return "this server cannot use the provider"
}

// serverHasMetadata reports whether the server has metadata of this issuer from another URL.
func (a *authorityChecks) serverHasMetadata() bool {
	documents := a.forServer.documents
	return len(documents) > 0 && a.Names(documents[0].Metadata.Issuer)
}

// relative returns address without the origin of the issuer.
func (a *authorityChecks) relative(address string) string {
	u, ok := originOf(a.Identifier)
	if !ok {
		return providers.RedactURL(address)
	}
	return strings.TrimPrefix(providers.RedactURL(address), u.String())
}

// compareIssuer checks every document, because clients read the first that they find and compare the issuer
// (RFC 8414, section 3.3).
func (a *authorityChecks) compareIssuer(context.Context) diagnostics.Outcome {
	var right, old, wrong []diagnostics.Document
	for _, d := range a.documents {
		switch issuer := d.Metadata.Issuer; {
		case a.Names(issuer):
			right = append(right, d)
		case slices.Contains(a.Predecessors, issuer):
			old = append(old, d)
		default:
			wrong = append(wrong, d)
		}
	}
	withExpected := func(o diagnostics.Outcome) diagnostics.Outcome {
		o.Expected = "issuer is " + strings.Join(a.Issuers, " or ")
		return o
	}
	switch {
	case len(wrong) == 0 && len(old) == 0:
		return diagnostics.OK(providers.Quote(right[0].Metadata.Issuer))
	case len(wrong) == 0:
		return withExpected(diagnostics.Warning(providers.Quote(old[0].Metadata.Issuer)+
			", from before the migration",
			"have the provider migrate it: this server accepts tokens of both, but strict clients refuse to sign in"))
	}
	issuer := wrong[0].Metadata.Issuer
	found := providers.Quote(issuer) + " at " + a.relative(wrong[0].URL)
	fix := a.Fix
	trimSlash := func(s string) string { return strings.TrimRight(s, "/") }
	if slices.ContainsFunc(a.Issuers, func(want string) bool { return trimSlash(want) == trimSlash(issuer) }) {
		found = "it differs by a slash at the end: " + found
		fix = "write " + providers.Quote(issuer) + " in " + a.Setting + ", exactly as the metadata has it"
	}
	switch {
	case len(right) > 0:
		return withExpected(diagnostics.Warning(found+", although right at "+a.relative(right[0].URL),
			"have the provider correct its metadata: clients that find the wrong one first refuse to sign in"))
	case strings.Contains(issuer, "{") && a.diagnosis.Embedded:
		return withExpected(diagnostics.Failed(found+", which is for many tenants",
			"set "+a.Setting+" to the issuer of one tenant: its id in place of the word in braces, or of common"))
	case strings.Contains(issuer, "{"):
		return withExpected(diagnostics.Failed(found+", which is for many tenants",
			"set "+a.Setting+" to the issuer of one tenant, as iss in its tokens has it; for several tenants, set it "+
				"to the issuer with {tid} in place of the tenant, list the tenants in provider.tenants, and set "+
				"provider.discovery_url to this address"))
	}
	return withExpected(diagnostics.Failed(found, fix))
}

// published returns a member of the first document of this issuer that has it, or "".
func (a *authorityChecks) published(member func(token.PublishedMetadata) string) string {
	for _, d := range a.documents {
		if value := member(d.Metadata); value != "" && a.Names(d.Metadata.Issuer) {
			return value
		}
	}
	return ""
}

// publishes reports whether a document of this issuer has the member.
func (a *authorityChecks) publishes(member func(token.PublishedMetadata) string) bool {
	return a.published(member) != ""
}

func (a *authorityChecks) endpoints(context.Context) diagnostics.Outcome {
	const fix = "have the provider correct its metadata: clients need both endpoints to sign in"
	for _, d := range a.documents {
		for _, endpoint := range []struct{ name, address string }{
			{"authorization_endpoint", d.Metadata.AuthorizationEndpoint},
			{"token_endpoint", d.Metadata.TokenEndpoint},
		} {
			if endpoint.address == "" {
				return diagnostics.Failed("no "+endpoint.name+" at "+a.relative(d.URL), fix)
			}
			if err := a.prober.CheckURL(endpoint.address); err != nil {
				found := "the " + endpoint.name + " cannot be used: " + err.Error()
				if isInnerHTTP(endpoint.address) {
					return diagnostics.Failed(found, "set the provider's public https address at the provider (at Keycloak "+
						"KC_HOSTNAME): it publishes the address by which this server reaches it, and clients need the other")
				}
				return diagnostics.Failed(found, fix)
			}
		}
	}
	return diagnostics.OK("both are published")
}

// pkce requires S256 in every document, because clients read one of them.
func (a *authorityChecks) pkce(context.Context) diagnostics.Outcome {
	for _, d := range a.documents {
		if methods := d.Metadata.CodeChallengeMethods; !slices.Contains(methods, "S256") {
			found := "no code_challenge_methods_supported"
			if len(methods) > 0 {
				found = "code_challenge_methods_supported is " + providers.Quote(strings.Join(methods, " "))
			}
			return diagnostics.Failed(found+" at "+a.relative(d.URL),
				"enable PKCE with S256 at the provider, and have it announce code_challenge_methods_supported")
		}
	}
	return diagnostics.OK("S256")
}

// unknowable is what no check finds out, because it would create a client at the provider, and nothing is
// changed.
const unknowable = "; only registering a client shows whether its redirect URIs are accepted and the response is usable"

func (a *authorityChecks) registration(context.Context) diagnostics.Outcome {
	m, unknowable := a.documents[0].Metadata, unknowable
	if a.diagnosis.FreeRegistration {
		unknowable = "" // provider.consent registers a client
	}
	switch {
	case m.RegistrationEndpoint != "" && m.ClientIDMetadataDocuments:
		return diagnostics.OK("by dynamic registration (RFC 7591) or a client ID metadata document" + unknowable)
	case m.RegistrationEndpoint != "":
		return diagnostics.OK("by dynamic registration (RFC 7591)" + unknowable)
	case m.ClientIDMetadataDocuments:
		return diagnostics.OK("by a client ID metadata document; older clients support registration only" + unknowable)
	}
	return diagnostics.Warning("it supports neither",
		"register every client by hand at the provider, with its redirect URI, and give its users the client ID "+
			"(configs/presets/README.md has both for each client); "+
			"or enable dynamic client registration or client ID metadata documents")
}

func (a *authorityChecks) scopes(wanted []string) diagnostics.Outcome {
	supported := a.documents[0].Metadata.Scopes
	if len(supported) == 0 {
		return diagnostics.OK("it does not publish its scopes")
	}
	isSupported := func(scope string) bool { return slices.Contains(supported, scope) }
	missing := slices.DeleteFunc(slices.Clone(wanted), isSupported)
	if len(missing) == 0 {
		return diagnostics.OK(strings.Join(wanted, " "))
	}
	return diagnostics.Warning("scopes_supported lacks "+strings.Join(missing, " "),
		"create these scopes at the provider, or map them to its names in provider.scope_map, if the kind has it; "+
			"a provider may refuse a client that requests an unknown scope")
}
