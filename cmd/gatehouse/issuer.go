package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/server"
)

const issuerHelp = "Run the local issuer alone: a fake authorization server for demos and tests. " +
	"Anyone can sign in as anyone."

// issuerPort is used unless --listen names another port.
const issuerPort = "9000"

func issuer(ctx context.Context, args []string, c console) int {
	flags := newFlags("issuer", issuerHelp, c)
	f := newIssuerFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	if _, port, err := net.SplitHostPort(f.listen); err == nil && !flags.Changed("issuer") {
		f.issuer = "http://localhost:" + port // the metadata must name the port that clients use
	}
	logger, _ := c.newLogger(f.log)
	opened, problems := f.open(logger)
	if len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintf(c.stderr, "gatehouse issuer: %s\n", p)
		}
		return exitConfig
	}
	c.stop.configure(opened.Settings, logger)
	c.stop.begin("start of the issuer")
	ln, err := net.Listen("tcp", f.listen)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %s\n", listenError("--listen", f.listen, err))
		return exitPort
	}
	defer ln.Close()
	f.announce(c, logger)
	logger.Info("issuing", "listen", ln.Addr().String(), "issuer", f.issuer, "resources", f.resources)
	c.stop.begin("issuer")
	err = server.Serve(ctx, ln, server.NewIssuer(opened, nil), opened.Settings, logger, server.Lifecycle{})
	c.stop.begin("log")
	return logStopped(logger, err)
}

// issuerFlags are the flags of the command.
type issuerFlags struct {
	listen, issuer                       string
	resources                            []string
	scopes, defaultScopes                []string
	descriptions                         []string // of scopes, for the consent page
	algorithm                            string
	tokenLifetime, refreshGrace          time.Duration
	approve                              bool
	secretFile                           string
	clients                              []string
	documents, loopbackDocuments         bool
	allowPublicResource, listenForOthers bool
	log                                  configs.Log
}

// newIssuerFlags adds the flags to a set. The scopes of the demo tools are included, because it is not known here
// whether the server offers them.
func newIssuerFlags(flags *pflag.FlagSet, c console) *issuerFlags {
	demo := c.catalog(mcptools.ToolSettings{Demo: true}, mcptools.Stats{})
	f := &issuerFlags{}
	flags.StringVar(&f.listen, "listen", "127.0.0.1:"+issuerPort, "host:port to listen on")
	flags.StringVar(&f.issuer, "issuer", "http://localhost:"+issuerPort,
		"issuer identifier: an origin, as clients reach it; it follows the port of --listen")
	flags.StringSliceVar(&f.resources, "resource", []string{"http://localhost:3002/mcp"},
		"resources that tokens may be issued for; the first is the default")
	flags.StringSliceVar(&f.scopes, "scopes", providers.MergeScopes([]string{"mcp:use"}, demo.Scopes()),
		"scopes that clients may request")
	flags.StringSliceVar(&f.defaultScopes, "default-scopes", []string{"mcp:use", "greet:read"},
		"scopes granted to requests without a scope parameter")
	flags.StringArrayVar(&f.descriptions, "scope-description", demoDescriptions(),
		"scope=text for the consent page; repeat it for each scope")
	flags.StringVar(&f.algorithm, "signing-algorithm", "RS256", "RS256, ES256 or EdDSA")
	flags.DurationVar(&f.tokenLifetime, "token-lifetime", 10*time.Minute, "lifetime of access tokens")
	flags.BoolVar(&f.approve, "auto-approve", false,
		"skip the sign-in page and sign in as alice, unless another site opened it")
	flags.StringVar(&f.secretFile, "client-secret-file", "",
		"file with the secret of the confidential client local-service; without it the client does not exist")
	flags.StringArrayVar(&f.clients, "client", nil, clientFlagHelp)
	flags.DurationVar(&f.refreshGrace, "refresh-grace", time.Minute,
		"how long a replaced refresh token still returns the same successor; with 0 a repeat revokes the grant")
	flags.BoolVar(&f.documents, "client-documents", true, "announce and fetch client ID metadata documents; "+
		"disable it without internet access, so that clients register dynamically")
	flags.BoolVar(&f.loopbackDocuments, "allow-loopback-client-documents", false,
		"also fetch client ID metadata documents from loopback and private networks")
	flags.BoolVar(&f.allowPublicResource, "dangerously-allow-public-resource", false,
		"issue tokens for resources that other computers can reach")
	flags.BoolVar(&f.listenForOthers, "dangerously-listen-for-others", false, "listen on an address that other "+
		"computers can reach; for a container whose port is published on 127.0.0.1 only")
	flags.StringVar(&f.log.Level, "log.level", "info", "debug, info, warn or error")
	flags.StringVar(&f.log.Format, "log.format", "text", "text or json")
	return f
}

// open returns the configuration of the issuer's server, or all problems.
func (f *issuerFlags) open(logger *slog.Logger) (server.Config, []string) {
	settings := server.DefaultSettings()
	settings.Listen = f.listen
	settings.DrainTime = 0 // there is no load balancer in front of a fake issuer
	secret, problems := f.check(settings)
	clients, invalid := confidentialClients(f.clients)
	problems = append(problems, invalid...)
	identifier := f.issuer
	address, err := providers.ParseDemoIssuer(identifier)
	if err != nil {
		problems = append(problems, fmt.Sprintf("--issuer: %v; use an origin such as http://localhost:%s", err, issuerPort))
		identifier = "http://localhost:" + issuerPort // so that the other settings can be checked too
	}
	as, err := authserver.New(authserver.Config{
		UserAgent: app.UserAgent(),
		Issuer:    identifier, Resources: f.resources, Scopes: f.scopes, DefaultScopes: f.defaultScopes,
		ScopeDescriptions: configs.Scopes{Descriptions: f.descriptions}.DescriptionOf(),
		SigningAlgorithm:  f.algorithm, AccessTokenLifetime: f.tokenLifetime, AutoApprove: f.approve,
		Clients:                        append(authserver.DemoClients(secret), clients...),
		RefreshGrace:                   f.refreshGrace,
		ClientDocuments:                f.documents,
		AllowLoopbackClientDocuments:   f.loopbackDocuments,
		DangerouslyAllowPublicResource: f.allowPublicResource,
		Logger:                         logger,
	})
	if err != nil {
		problems = append(problems, strings.Split(err.Error(), "\n")...)
	}
	if len(problems) > 0 {
		return server.Config{}, problems
	}
	return server.Config{Resource: address, Settings: settings, Logger: logger,
		Routes: append(as.Routes(), providers.Route{Path: "/", Handler: as.Index()})}, nil
}

// check checks what [authserver.New] does not, and reads the secret of the client local-service.
func (f *issuerFlags) check(settings server.Settings) (secret string, problems []string) {
	settings.Validate(func(p providers.Problem) {
		problems = append(problems, fmt.Sprintf("--%s: %s; %s", p.Key, p.Reason, p.Fix))
	})
	f.log.Validate(func(p providers.Problem) {
		problems = append(problems, fmt.Sprintf("--log.%s: %s; %s", p.Key, p.Reason, p.Fix))
	})
	if f.secretFile != "" {
		var err error
		if secret, err = configs.ReadSecret(f.secretFile); err != nil {
			problems = append(problems, fmt.Sprintf("--client-secret-file %q: %v", f.secretFile, err))
		}
	}
	for _, entry := range f.descriptions {
		if _, _, ok := configs.ParseDescription(entry); !ok {
			problems = append(problems, fmt.Sprintf("--scope-description %q: it is not scope=text", entry))
		}
	}
	if host, _, err := net.SplitHostPort(f.listen); err == nil && !providers.IsLoopback(host) && !f.listenForOthers {
		problems = append(problems, "--listen: anyone who reaches the local issuer can sign in as anyone, and other "+
			"computers can reach this address; listen on 127.0.0.1; a container whose port is published on 127.0.0.1 only "+
			"may set --dangerously-listen-for-others")
	}
	return secret, problems
}

// announce tells what clients need.
func (f *issuerFlags) announce(c console, logger *slog.Logger) {
	const warning = "The local issuer is for demos only: anyone can sign in as anyone."
	if !c.showsBanner(f.log) {
		logger.Warn(warning)
		return
	}
	fmt.Fprintf(c.stdout, "\n%s\n\n  Issuer    %s\n  Metadata  %s\n  Resource  %s\n\n", warning,
		f.issuer, f.issuer+"/.well-known/oauth-authorization-server", strings.Join(f.resources, ", "))
}

// demoDescriptions are the descriptions of the built-in profile.
func demoDescriptions() []string {
	cfg, err := configs.Load(configs.Sources{})
	if err != nil {
		return nil // the built-in profile is valid
	}
	return cfg.Scopes.Descriptions
}
