package broker

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// signInExamination examines the provider at which people sign in, and the client of this server there.
type signInExamination struct {
	settings *Settings
	info     providers.ServerInfo
	store    *storeExamination
	people   *Upstream // nil until the first check that makes requests
	clock    *diagnostics.Clock
}

const supportCheck = "sign_in.support"

func (x *signInExamination) checks() []diagnostics.Check {
	check := func(name, expected string, run func(context.Context, *Upstream) diagnostics.Outcome) diagnostics.Check {
		c := diagnostics.Check{Name: name, Expected: expected, Authority: x.settings.Issuer, Needs: []string{supportCheck},
			Run: func(ctx context.Context, client *http.Client) diagnostics.Outcome {
				people, err := x.upstream(client)
				if err != nil {
					return diagnostics.Failed(err.Error(), "correct the setting; the server does not start with it")
				}
				return run(ctx, people)
			}}
		if name == supportCheck {
			c.Needs = nil
		}
		return c
	}
	return []diagnostics.Check{
		{Name: "sign_in.scope_rules", Offline: true, Run: x.scopeRules,
			Expected: "the scopes that people can get are known to this server"},
		check(supportCheck, "the provider has what signing in needs: PKCE, iss in responses, refresh tokens",
			func(ctx context.Context, u *Upstream) diagnostics.Outcome { return u.ProbeMetadata(ctx) }),
		check("sign_in.redirect", "the redirect URI "+CallbackURL(x.info.Resource)+" is registered at the provider",
			func(ctx context.Context, u *Upstream) diagnostics.Outcome { return u.ProbeRedirect(ctx) }),
		check("sign_in.client", "the provider accepts the credentials of provider.client_id",
			func(ctx context.Context, u *Upstream) diagnostics.Outcome { return u.ProbeClient(ctx) }),
		check("sign_in.keys", "its keys can verify ID tokens",
			func(ctx context.Context, u *Upstream) diagnostics.Outcome { return u.ProbeKeys(ctx) }),
		check("sign_in.clock", fmt.Sprintf("its clock differs from this computer's by less than %s", leeway),
			func(context.Context, *Upstream) diagnostics.Outcome {
				return x.clock.Compare(leeway, "the provider's", "ID tokens are refused, and no person can sign in")
			}),
		// Last, because it uses what the others and the checks of the store have read.
		{Name: "sign_in.refresh_token", Offline: true, Run: x.refreshToken,
			Expected: "the provider issues refresh tokens, with which it is asked whether a person may still sign in"},
	}
}

// upstream returns the client of this server, which sends its requests with client.
func (x *signInExamination) upstream(client *http.Client) (*Upstream, error) {
	if x.people != nil {
		return x.people, nil
	}
	config, err := x.settings.upstreamConfig(x.info, Rules{})
	if err != nil {
		return nil, err
	}
	x.clock = diagnostics.NewClock(client.Transport, "")
	config.Transport = x.clock
	x.people, err = newUpstream(config)
	return x.people, err
}

func (x *signInExamination) scopeRules(context.Context, *http.Client) diagnostics.Outcome {
	rules, err := x.settings.rules(x.info)
	if err != nil {
		return diagnostics.Failed(err.Error(), "correct the scopes; the server does not start with them")
	}
	return diagnostics.OK(fmt.Sprintf("%d scopes", len(rules.Scopes())))
}

// refreshToken reports what the sign-ins in the store show; before the first, what the metadata announces.
func (x *signInExamination) refreshToken(context.Context, *http.Client) diagnostics.Outcome {
	s := x.settings
	lifetime := s.SessionWithoutRefresh
	fix := "allow refresh tokens for the client at the provider, and request them: provider.upstream_scopes with " +
		"offline_access, or at Google provider.authorize_params with access_type=offline and prompt=consent; it " +
		"counts from the next sign-in"
	seen := x.store.seen
	if total, without := seen.total-seen.unreadable, seen.without; total > 0 {
		if without > 0 {
			return diagnostics.Warning(fmt.Sprintf("the provider issued none for %d of the %d sign-ins that were "+
				"read: they end after %s, and a person who is removed there keeps access until then",
				without, total, lifetime), fix)
		}
		return diagnostics.OK(fmt.Sprintf("issued for each of the %d sign-ins that were read", total))
	}
	unread := "no sign-in could be read"
	if x.store.isRead {
		unread = "there is no sign-in yet"
	}
	requested := slices.Contains(s.UpstreamScopes, "offline_access") ||
		slices.Contains(s.AuthorizeParams, "access_type=offline")
	var m token.PublishedMetadata
	if x.people != nil {
		m, _ = x.people.metadata.known()
	}
	switch announced := slices.Contains(m.GrantTypes, "refresh_token"); {
	case requested:
		return diagnostics.OK("they are requested; " + unread + ", which would show whether the provider issues them")
	case announced:
		return diagnostics.OK("the provider announces them; " + unread + ", which would show whether it issues them")
	}
	return diagnostics.Warning(fmt.Sprintf("they are neither requested nor announced, and %s: without them a "+
		"sign-in ends after %s", unread, lifetime), fix)
}
