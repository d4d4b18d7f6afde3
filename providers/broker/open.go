package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
	"gatehouse/providers/oidc"
	"gatehouse/providers/token"
)

const (
	// signingAlgorithm signs the tokens: short, and quick to sign.
	signingAlgorithm = jose.ES256
	// tokenLifetime bounds how long a person who was removed can still call.
	tokenLifetime = 10 * time.Minute
	// refetchInterval is short: a fetch of the keys is a call within the process.
	refetchInterval = 100 * time.Millisecond
	// keyMaxAge bounds how long this server accepts tokens of a key that was withdrawn.
	keyMaxAge = 30 * time.Second
)

// Remote implements [providers.Embedded].
func (s *Settings) Remote(resource providers.Resource) providers.Settings {
	outside := oidc.Defaults()
	outside.Issuer, outside.Algorithms = resource.Origin(), []string{string(signingAlgorithm)}
	return outside
}

// Open implements [providers.Settings].
func (s *Settings) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	watch := &providerWatch{next: info.Record, now: time.Now}
	info.Record = watch.record
	issuer, err := s.OpenIssuer(ctx, info)
	if err != nil {
		return nil, err
	}
	client := token.NewClient(authserver.Transport(issuer.Handler()), info.UserAgent)
	keys := token.NewKeySet(token.KeySource{URL: token.StaticURL(issuer.KeysURL()), Client: client},
		token.KeyPolicy{RefetchInterval: refetchInterval, MaxAge: keyMaxAge}, info.Logger)
	go keys.Run(ctx)
	kind, _, _ := strings.Cut(s.Store, ":")
	return &provider{issuer: issuer, store: kind, watch: watch, Provider: token.NewProvider(token.Parts{
		Keys: keys,
		Verifier: token.NewVerifier(token.Rules{
			Issuers:      []string{info.Resource.Origin()},
			Audiences:    []string{info.Resource.String()},
			Algorithms:   []jose.SignatureAlgorithm{signingAlgorithm},
			TokenTypes:   []string{"at+jwt"},
			ScopeClaims:  []string{"scope"},
			ClientClaims: []string{"client_id"},

			MaxTokenBytes: token.DefaultMaxTokenBytes,
		}, keys),
		Metadata: info.Metadata(info.Resource.Origin()),
	})}, nil
}

// OpenIssuer returns the authorization server alone. Its background work ends with ctx, and with it the use of the
// store.
func (s *Settings) OpenIssuer(ctx context.Context, info providers.ServerInfo) (*authserver.Issuer, error) {
	rules, err := s.rules(info)
	if err != nil {
		return nil, err
	}
	keys, err := seal.Parse([]byte(s.Secrets.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("provider.secrets_file: %w", err)
	}
	people, err := s.upstream(info, rules)
	if err != nil {
		return nil, err
	}
	clients, enterpriseIDs, err := s.clients()
	if err != nil {
		return nil, err
	}
	revokeBefore, _ := parseRevokeBefore(s.RevokeBefore) // validated
	var assertions authserver.AssertionVerifier
	verifier := s.assertions(info)
	if verifier != nil {
		assertions = verifier
	}
	records, err := s.openStore(ctx, ReadWrite)
	if err != nil {
		return nil, err
	}
	issuer, err := authserver.New(authserver.Config{
		Issuer:            info.Resource.Origin(),
		Resources:         append([]string{info.Resource.String()}, s.Resources...),
		Scopes:            info.KnownScopes,
		ScopeDescriptions: info.ScopeDescriptions,
		DefaultScopes:     info.InitialScopes,
		SigningAlgorithm:  string(signingAlgorithm),
		SigningKey:        s.SigningKey,
		SignIn:            people,
		Store:             records,
		Keys:              keys,
		Sessions: authserver.SessionPolicy{
			Lifetime: s.SessionLifetime, LifetimeWithoutRefresh: s.SessionWithoutRefresh,
			RecheckInterval: s.RecheckInterval, RecheckMaxStale: s.RecheckMaxStale, RevokeBefore: revokeBefore,
		},
		ClientPolicy: authserver.ClientPolicy{
			RedirectHosts: s.RedirectHosts, RedirectSchemes: s.RedirectSchemes, Denied: s.DeniedClients,
			RegistrationLifetime: s.RegistrationLifetime,
			EnterpriseClients:    enterpriseIDs, EnterpriseScopes: s.EnterpriseScopes,
		},
		Assertions:                   assertions,
		Record:                       info.Record,
		Denied:                       info.Denied,
		AccessTokenLifetime:          tokenLifetime,
		RefreshTokenLifetime:         s.SessionLifetime,
		Clients:                      clients,
		RefreshGrace:                 s.RefreshGrace,
		ClientDocuments:              s.ClientDocuments,
		AllowLoopbackClientDocuments: s.AllowLoopbackClientDocuments,
		ClientDocumentRootCAs:        s.ClientDocumentRootCAs,
		UserAgent:                    info.UserAgent,
		Logger:                       info.Logger,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("authorization server: %w", err), records.Close())
	}
	if err := s.prepare(ctx, issuer); err != nil {
		return nil, errors.Join(err, records.Close())
	}
	go warnOfEviction(ctx, records, info.Logger)
	go people.Run(ctx)
	if verifier != nil {
		go verifier.Run(ctx)
	}
	go func() {
		issuer.Run(ctx)
		_ = records.Close()
	}()
	return issuer, nil
}

// prepareTimeout bounds the wait for the store at start.
const prepareTimeout = 3 * time.Second

// prepare reads the signing keys. The server starts while the store is down, and is not ready; it does not start with
// the store of another authorization server.
func (s *Settings) prepare(ctx context.Context, issuer *authserver.Issuer) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	if err := issuer.Prepare(ctx); errors.Is(err, authserver.ErrForeignStore) {
		return fmt.Errorf("provider.store: %w", err)
	}
	return nil
}

// warnOfEviction logs that a Redis server removes sign-ins when its memory is full. A server that does not say it,
// or is down, has no line: doctor reports that.
func warnOfEviction(ctx context.Context, records store.Store, logger *slog.Logger) {
	redis, ok := records.(*store.Redis)
	if !ok {
		return
	}
	if policy, known := redis.EvictionPolicy(ctx); known && policy != "noeviction" {
		logger.WarnContext(ctx,
			"the store of sign-ins removes records when its memory is full, and people must sign in again",
			"maxmemory_policy", providers.Printable(policy, 40), "fix",
			"set maxmemory-policy noeviction, or use a Redis server "+
				"for the sign-ins alone")
	}
}

// upstream returns the provider at which people sign in.
func (s *Settings) upstream(info providers.ServerInfo, rules Rules) (*Upstream, error) {
	config, err := s.upstreamConfig(info, rules)
	if err != nil {
		return nil, err
	}
	return newUpstream(config)
}

func (s *Settings) upstreamConfig(info providers.ServerInfo, rules Rules) (upstreamConfig, error) {
	required, problems := ParseRequiredClaims(s.RequiredClaims)
	if len(problems) > 0 {
		return upstreamConfig{}, errors.Join(problems...) // validated
	}
	return upstreamConfig{
		Issuer: s.Issuer, HTTPAllowedHosts: s.HTTPAllowedHosts,
		RedirectURI: CallbackURL(info.Resource), ClientID: s.ClientID, ClientSecret: s.ClientSecret, ClientKey: s.ClientKey,
		Scopes: s.UpstreamScopes, Params: s.AuthorizeParams,
		SubjectClaim: s.SubjectClaim, Required: required, Rules: rules,
		UserAgent: info.UserAgent, Logger: info.Logger,
	}, nil
}

// assertions returns the verifier of identity assertions, or nil.
func (s *Settings) assertions(info providers.ServerInfo) *Assertions {
	if len(s.EnterpriseIssuers) == 0 {
		return nil
	}
	c := AssertionConfig{
		Audience: info.Resource.Origin(), Issuers: s.EnterpriseIssuers, PlainHTTPHosts: s.HTTPAllowedHosts,
		Client: token.NewClient(nil, info.UserAgent), Logger: info.Logger,
	}
	if s.SubjectClaim == "sub" {
		c.SignInIssuer = s.Issuer
	}
	return NewAssertions(c)
}

// rules returns the rules for the scopes of people. Without any, everyone may have the initial scopes. The error names
// scopes that nothing on this server requires.
func (s *Settings) rules(info providers.ServerInfo) (Rules, error) {
	list := s.ScopeRules
	if len(list) == 0 {
		list = ClaimList{"* > " + strings.Join(info.InitialScopes, " ")}
	}
	rules, problems := ParseScopeRules(list)
	for _, scope := range slices.Concat(rules.Scopes(), s.EnterpriseScopes) {
		if !slices.Contains(info.KnownScopes, scope) {
			problems = append(problems, fmt.Errorf("provider.scope_rules or provider.enterprise_scopes: no tool and no setting "+
				"of scopes has the scope %q; the known scopes are: %s", scope, strings.Join(info.KnownScopes, " ")))
		}
	}
	return rules, errors.Join(problems...)
}

// NamedScopes returns the scopes that the settings name: all that an authorization server without tools knows.
func (s *Settings) NamedScopes() []string {
	rules, _ := ParseScopeRules(s.ScopeRules) // validated
	return slices.Concat(rules.Scopes(), s.EnterpriseScopes)
}

// openStore opens the store. The error wraps [store.ErrInUse] if another process has it.
func (s *Settings) openStore(ctx context.Context, access Access) (store.Store, error) {
	open := store.Open
	if access == ReadOnly {
		open = store.OpenReadOnly
	}
	records, err := open(ctx, s.Store, s.StorePassword.Reveal())
	switch {
	case access == ReadWrite && errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("provider.store: %w; %s", err, fixFolder)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("provider.store: %w; the folder and the file must belong to the user of the server", err)
	case err != nil:
		return nil, fmt.Errorf("provider.store: %w", err)
	}
	return records, nil
}

// clients returns the clients with a secret of the setting enterprise_clients, and the ids of all of its clients.
func (s *Settings) clients() (clients []authserver.Client, ids []string, err error) {
	for _, entry := range s.EnterpriseClients {
		c, err := readEnterpriseClient(entry)
		if err != nil {
			return nil, nil, fmt.Errorf("provider.enterprise_clients: %w", err)
		}
		ids = append(ids, c.id)
		if c.secret != "" {
			clients = append(clients, authserver.Client{ID: c.id, Secret: c.secret.Reveal()})
		}
	}
	return clients, ids, nil
}
