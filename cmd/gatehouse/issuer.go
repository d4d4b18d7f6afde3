package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

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
	// The scopes of the demo tools are included, because it is not known here whether the server offers the
	// demo tools.
	catalog := c.catalog(mcptools.ToolSettings{Demo: true}, mcptools.Stats{})
	scopes := providers.MergeScopes([]string{"mcp:use"}, catalog.Scopes())
	flags := newFlags("issuer", issuerHelp, c)
	var (
		listen = flags.String("listen", "127.0.0.1:"+issuerPort, "host:port to listen on")
		url    = flags.String("issuer", "http://localhost:"+issuerPort,
			"issuer identifier: an origin, as clients reach it; it follows the port of --listen")
		resources = flags.StringSlice("resource", []string{"http://localhost:3002/mcp"},
			"resources that tokens may be issued for; the first is the default")
		known   = flags.StringSlice("scopes", scopes, "scopes that clients may request")
		initial = flags.StringSlice("default-scopes", []string{"mcp:use", "greet:read"},
			"scopes granted to requests without a scope parameter")
		described = flags.StringArray("scope-description", demoDescriptions(),
			"scope=text for the consent page; repeat it for each scope")
		algorithm = flags.String("signing-algorithm", "RS256", "RS256, ES256 or EdDSA")
		lifetime  = flags.Duration("token-lifetime", 10*time.Minute, "lifetime of access tokens")
		approve   = flags.Bool("auto-approve", false,
			"skip the sign-in page and sign in as alice, unless another site opened it")
		secret = flags.String("client-secret-file", "",
			"file with the secret of the confidential client local-service; without it the client does not exist")
		registered = flags.StringArray("client", nil, clientFlagHelp)
		grace      = flags.Duration("refresh-grace", time.Minute,
			"how long a replaced refresh token still returns the same successor; with 0 a repeat revokes "+
				"the grant")
		documents = flags.Bool("client-documents", true, "announce and fetch client ID metadata documents; "+
			"disable it without internet access, so that clients register dynamically")
		loopback = flags.Bool("allow-loopback-client-documents", false,
			"also fetch client ID metadata documents from loopback and private networks")
		public = flags.Bool("dangerously-allow-public-resource", false,
			"issue tokens for resources that other computers can reach")
		anywhere = flags.Bool("dangerously-listen-for-others", false, "listen on an address that other computers can "+
			"reach; for a container whose port is published on 127.0.0.1 only")
		level  = flags.String("log.level", "info", "debug, info, warn or error")
		format = flags.String("log.format", "text", "text or json")
	)
	if code, done := parse(flags, args, c); done {
		return code
	}
	if _, port, err := net.SplitHostPort(*listen); err == nil && !flags.Changed("issuer") {
		*url = "http://localhost:" + port // the metadata must name the port that clients use
	}
	logSettings := configs.Log{Level: *level, Format: *format}
	settings := server.DefaultSettings()
	settings.Listen = *listen
	settings.DrainTime = 0 // there is no load balancer in front of a fake issuer
	clientSecret, problems := issuerProblems(settings, logSettings, *secret)
	clients, invalid := confidentialClients(*registered)
	problems = append(problems, invalid...)
	for _, entry := range *described {
		if _, _, ok := configs.ParseDescription(entry); !ok {
			problems = append(problems, fmt.Sprintf("--scope-description %q: it is not scope=text", entry))
		}
	}
	if host, _, err := net.SplitHostPort(*listen); err == nil && !providers.IsLoopback(host) && !*anywhere {
		problems = append(problems, "--listen: anyone who reaches the local issuer can sign in as anyone, and other "+
			"computers can reach this address; listen on 127.0.0.1; a container whose port is published on 127.0.0.1 only "+
			"may set --dangerously-listen-for-others")
	}
	identifier := *url
	address, err := providers.ParseDemoIssuer(identifier)
	if err != nil {
		problems = append(problems, fmt.Sprintf("--issuer: %v; use an origin such as http://localhost:%s", err, issuerPort))
		identifier = "http://localhost:" + issuerPort // so that the other settings can be checked too
	}
	logger, _ := c.newLogger(logSettings)
	as, err := authserver.New(authserver.Config{
		UserAgent: app.UserAgent(),
		Issuer:    identifier, Resources: *resources, Scopes: *known, DefaultScopes: *initial,
		ScopeDescriptions: configs.Scopes{Descriptions: *described}.DescriptionOf(),
		SigningAlgorithm:  *algorithm, AccessTokenLifetime: *lifetime, AutoApprove: *approve,
		Clients:                        append(authserver.DemoClients(clientSecret), clients...),
		RefreshGrace:                   *grace,
		ClientDocuments:                *documents,
		AllowLoopbackClientDocuments:   *loopback,
		DangerouslyAllowPublicResource: *public,
		Logger:                         logger,
	})
	if err != nil {
		problems = append(problems, strings.Split(err.Error(), "\n")...)
	}
	if len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintf(c.stderr, "gatehouse issuer: %s\n", p)
		}
		return exitConfig
	}
	c.stop.configure(settings, logger)
	c.stop.begin("start of the issuer")
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %s\n", listenError("--listen", *listen, err))
		return exitPort
	}
	defer ln.Close()
	const warning = "The local issuer is for demos only: anyone can sign in as anyone."
	if c.showsBanner(logSettings) {
		fmt.Fprintf(c.stdout, "\n%s\n\n  Issuer    %s\n  Metadata  %s\n  Resource  %s\n\n", warning,
			*url, *url+"/.well-known/oauth-authorization-server", strings.Join(*resources, ", "))
	} else {
		logger.Warn(warning)
	}
	logger.Info("issuing", "listen", ln.Addr().String(), "issuer", *url, "resources", *resources)
	chain := server.NewIssuer(server.Config{Resource: address, Settings: settings, Logger: logger,
		Routes: append(as.Routes(), providers.Route{Path: "/", Handler: as.Index()})}, nil)
	c.stop.begin("issuer")
	err = server.Serve(ctx, ln, chain, settings, logger, server.Lifecycle{})
	c.stop.begin("log")
	return logStopped(logger, err)
}

// demoDescriptions are the descriptions of the built-in profile.
func demoDescriptions() []string {
	cfg, err := configs.Load(configs.Sources{})
	if err != nil {
		return nil // the built-in profile is valid
	}
	return cfg.Scopes.Descriptions
}

// issuerProblems validates the settings that [authserver.New] does not, and reads the secret.
func issuerProblems(settings server.Settings, log configs.Log, secretFile string) (secret string, problems []string) {
	settings.Validate(func(p providers.Problem) {
		problems = append(problems, fmt.Sprintf("--%s: %s; %s", p.Key, p.Reason, p.Fix))
	})
	log.Validate(func(p providers.Problem) {
		problems = append(problems, fmt.Sprintf("--log.%s: %s; %s", p.Key, p.Reason, p.Fix))
	})
	if secretFile != "" {
		var err error
		if secret, err = configs.ReadSecret(secretFile); err != nil {
			problems = append(problems, fmt.Sprintf("--client-secret-file %q: %v", secretFile, err))
		}
	}
	return secret, problems
}
