package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"syscall"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers/authserver/store"
	"gatehouse/server"
)

const reloadHelp = `

SIGHUP loads changed files without a restart, and so does the setting reload.poll. With the local issuer or on a
terminal, SIGHUP stops the server, like SIGTERM.`

func serve(ctx context.Context, args []string, c console) int {
	flags := newFlags("serve", "Serve the MCP tools behind OAuth.\n\n"+settingsHelp+reloadHelp, c)
	settings := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	sources := settings()
	sources.KnownScopes = c.knownScopes
	return c.serve(ctx, sources, serving{})
}

// knownScopes returns the scopes that the operations of a server with this configuration need.
func (c console) knownScopes(cfg *configs.Config) []string {
	catalog := app.OwnCatalog(cfg, c.catalog(cfg.Tools, mcptools.Stats{}))
	return app.ServerInfo(cfg, catalog, slog.New(slog.DiscardHandler)).KnownScopes
}

// serving is how a command differs from serve.
type serving struct {
	// prepare checks and changes the configuration, if it is not nil.
	prepare func(*configs.Config) error
	// announce prints what clients need, in place of the banner and its notes.
	announce func(*configs.Config)
	// showsProfile adds the profile that serves the same to the banner.
	showsProfile bool
	options      []app.Option
}

// introduce prints what clients and the operator need to know, or logs it.
func (s serving) introduce(c console, cfg *configs.Config, a *app.App, operator string, logger *slog.Logger) {
	if s.announce != nil && c.showsBanner(cfg.Log) {
		s.announce(cfg)
	} else {
		c.announce(cfg, a, operator, logger)
	}
	if s.showsProfile && c.showsBanner(cfg.Log) {
		printProfile(c.stdout, cfg)
	}
	if s.announce == nil {
		for _, note := range app.Notes(cfg, a.Catalog) {
			logger.Warn(note)
		}
	}
}

// serve serves what the sources say, until ctx is done.
func (c console) serve(ctx context.Context, sources configs.Sources, as serving) int {
	files := configs.NewSnapshot()
	atStart := sources
	atStart.ReadFile = files.ReadAtStart
	cfg, code, done := load(atStart, c)
	if done {
		return code
	}
	if as.prepare != nil {
		if err := as.prepare(cfg); err != nil {
			fmt.Fprintf(c.stderr, "gatehouse: %v\n", err)
			return exitConfig
		}
	}
	if code, done := c.checkDenials(cfg); done {
		return code
	}
	var hangups <-chan struct{}
	if c.reloadsOnHangup(cfg) {
		hangups = c.hangups.take()
	}
	logger, level := c.newLogger(cfg.Log)
	c.stop.configure(cfg.Server, logger)
	c.stop.begin("start of the server")
	tuneGC(c.environ, cgroupFile, logger)
	upstreams, ln, code := c.openUpstreams(ctx, cfg, logger)
	if ln == nil {
		return code
	}
	defer closeUnused(upstreams) // without effect after the server has closed them
	defer ln.Close()
	operatorListener, err := listenOperator(cfg)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %v\n", err)
		return exitPort
	}
	if operatorListener != nil {
		defer operatorListener.Close()
	}
	exported, err := c.startTelemetry(ctx, cfg, logger)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: telemetry cannot be set up: %v\n", err)
		return exitFailure
	}
	defer func() { exported.flush(cfg.Server) }()
	a, err := app.New(ctx, cfg, c.catalog, logger, append(as.options,
		app.WithTelemetry(exported.Meter, exported.Tracer), app.WithUpstreams(upstreams))...)
	if err != nil {
		return c.appFailed(cfg, err)
	}
	c.stop.begin("output of the banner")
	as.introduce(c, cfg, a, operatorURL(operatorListener), logger)
	c.stop.begin("server")
	logger.Info("serving", "listen", ln.Addr().String(), "resource", cfg.Resource.String(), "provider", cfg.Kind)
	stopOperator, err := startOperator(cfg, a, operatorListener, exported, logger)
	if err != nil {
		a.Close()
		fmt.Fprintf(c.stderr, "gatehouse: the operator's listener cannot be set up: %v\n", err)
		return exitFailure
	}
	defer context.AfterFunc(ctx, func() {
		if drain := a.Config().Server.DrainTime; drain > 0 {
			logger.Info("stopping gracefully; a second signal (Ctrl-C) ends the process at once", "drain_time", drain)
		}
	})()
	reload := &reloader{app: a, sources: sources, judged: files, prepare: as.prepare, stuckAfter: readTimeout}
	reload.applied = func(before, now *configs.Config) {
		c.follow(now, level, logger)
		warnOfNotes(a, before, now, logger)
	}
	go reload.run(ctx, hangups)
	err = server.Serve(ctx, ln, a.HTTP, cfg.Server, logger, a.Lifecycle())
	c.stop.begin("operator's listener")
	stopOperator()
	c.stop.begin("last export of metrics and traces")
	exported.flush(a.Config().Server)
	c.stop.begin("log")
	return logStopped(logger, err)
}

// appFailed prints why [app.New] failed, and returns the exit code.
func (c console) appFailed(cfg *configs.Config, err error) int {
	switch {
	case errors.Is(err, app.ErrUpstream):
		return c.upstreamFailed(cfg, err)
	case errors.Is(err, app.ErrAudit), errors.Is(err, app.ErrDenials): // the file of denials was good just before
		fmt.Fprintf(c.stderr, "gatehouse: %v\n", err)
		return exitFailure
	case errors.Is(err, store.ErrInUse):
		fmt.Fprintf(c.stderr, "gatehouse: %v\n", err)
		return exitConfig
	}
	fmt.Fprintf(c.stderr, "gatehouse: provider %s cannot be set up: %v\n", cfg.Kind, err)
	return exitProvider
}

// serveListenError describes why the address cannot be listened on, with its origin. If its port is in use, it
// suggests a free one.
func serveListenError(cfg *configs.Config, err error) string {
	const key = "server.listen"
	setting := effective(cfg, key)
	text := listenError(key+", "+setting.Origin, cfg.Server.Listen, err)
	free := freeAddressInstead(cfg.Server.Listen, err)
	if free == "" {
		return text
	}
	_, taken, _ := net.SplitHostPort(cfg.Server.Listen)
	_, port, _ := net.SplitHostPort(free)
	listen := fmt.Sprintf("--%s=%s", key, free)
	resource := fmt.Sprintf("--resource=http://localhost:%s%s", port, cfg.Resource.Path())
	advice := listen
	switch {
	case cfg.Resource.IsLoopback() && !setting.IsExplicit():
		advice = resource // server.listen is derived from it
	case cfg.Resource.IsLoopback() && strings.HasSuffix(cfg.Resource.Host(), ":"+taken):
		advice = resource + " " + listen
	}
	return text + fmt.Sprintf(", such as %s (that port is free)", advice)
}

// freeAddressInstead returns address with a free port, if err means that its port is in use; else "".
func freeAddressInstead(address string, err error) string {
	host, _, splitErr := net.SplitHostPort(address)
	if !errors.Is(err, syscall.EADDRINUSE) || splitErr != nil {
		return ""
	}
	free, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return ""
	}
	defer free.Close()
	_, port, _ := net.SplitHostPort(free.Addr().String())
	return net.JoinHostPort(host, port)
}

// effective returns the value of a key that every configuration has.
func effective(cfg *configs.Config, key string) configs.Value {
	return cfg.Effective[slices.IndexFunc(cfg.Effective, func(v configs.Value) bool { return v.Key == key })]
}

func listenError(key, address string, err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Sprintf("%s is in use by another program (%s); stop that program, or choose another address", address, key)
	}
	return fmt.Sprintf("cannot listen on %s (%s): %v", address, key, err)
}
