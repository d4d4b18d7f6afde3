package configs

import (
	"slices"

	"gatehouse/providers"
	"gatehouse/providers/broker"
	"gatehouse/providers/local"
	"gatehouse/providers/oidc"
	"gatehouse/providers/scalekit"
)

// Kind is one value of provider.kind.
type Kind struct {
	// Name is the value in a profile.
	Name string
	// Summary is one line for the documentation.
	Summary string
	// Defaults returns new settings of the kind with their default values.
	Defaults func() providers.Settings
	// Presets is the folder of the presets with settings of this kind; empty for a kind without presets. A preset
	// without a kind is one of the first kind that has presets.
	Presets string
	// LegacyNames are environment variables of other programs that are read as settings when this kind is
	// chosen.
	LegacyNames []LegacyName
	// Banner is a line that is printed at start.
	Banner string
	// SignIn says who can sign in, if that is not decided by the issuer.
	SignIn string
}

// Kinds is the table of all kinds. Each has a folder in providers.
func Kinds() []Kind {
	return []Kind{
		{
			Name:     "local",
			Summary:  "a fake issuer inside this binary, for demos and tests, without an account",
			Defaults: func() providers.Settings { return local.Defaults() },
			Banner:   "The local issuer is for demos only: anyone can sign in as anyone.",
			SignIn:   "anyone who reaches this address, as any user, without a password",
		},
		{
			Name: "oidc",
			Summary: "any OpenID provider or OAuth 2.0 authorization server: JWTs verified with its public keys, " +
				"opaque tokens by introspection",
			Defaults: func() providers.Settings { return oidc.Defaults() },
			Presets:  "presets",
		},
		{
			Name: "broker",
			Summary: "an authorization server inside this binary, in front of an OpenID provider that cannot register MCP " +
				"clients: people sign in at the provider, through one client",
			Defaults: func() providers.Settings { return broker.Defaults() },
			Presets:  "presets/broker",
			SignIn: "people with an account at provider.issuer, as far as provider.required_claims and " +
				"provider.scope_rules admit them",
		},
		{
			Name:        "scalekit",
			Summary:     "an MCP server registered at Scalekit; no secret is needed",
			Defaults:    func() providers.Settings { return scalekit.Defaults() },
			LegacyNames: scalekitTemplateNames(),
		},
	}
}

// KindNamed returns the kind in [Kinds] with that name.
func KindNamed(name string) (Kind, bool) { return kindTable(Kinds()).named(name) }

// kindTable are the kinds that a configuration can name: [Kinds] and [Sources.ExtraKinds].
type kindTable []Kind

func (t kindTable) named(name string) (Kind, bool) {
	i := slices.IndexFunc(t, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, false
	}
	return t[i], true
}

func (t kindTable) names() []string {
	var names []string
	for _, k := range t {
		names = append(names, k.Name)
	}
	return names
}

// duplicates reports names that two kinds have: of these, only the first could be chosen.
func (t kindTable) duplicates() Problems {
	var problems Problems
	for i, k := range t {
		if _, isDuplicate := t[:i].named(k.Name); isDuplicate {
			problems = append(problems, Problem{Key: kindKey, Value: quoteValue(k.Name), Origin: "ExtraKinds",
				Code: providers.CodeInternal, Reason: "another kind of provider has this name",
				Fix: "rename the kind in the program that adds it"})
		}
	}
	return problems
}

// presetKind returns the kind of a preset that is named without a kind.
func presetKind() Kind {
	kinds := Kinds()
	return kinds[slices.IndexFunc(kinds, func(k Kind) bool { return k.Presets != "" })]
}
