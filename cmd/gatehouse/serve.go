package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/server"
	"gatehouse/server/denials"
)

func serve(ctx context.Context, args []string, c console) int {
	flags := newFlags("serve", "Serve the MCP tools behind OAuth.\n\n"+settingsHelp, c)
	cfg, code, done := loadConfig(flags, args, c)
	if done {
		return code
	}
	logger := c.newLogger(cfg.Log)
	c.stop.configure(cfg.Server, logger)
	c.stop.begin("start of the server")
	tuneGC(c.environ, cgroupFile, logger)
	ln, err := net.Listen("tcp", cfg.Server.Listen)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %s\n", serveListenError(cfg, err))
		return exitPort
	}
	defer ln.Close()
	a, err := app.New(ctx, cfg, c.catalog, logger)
	if bad, ok := errors.AsType[*denials.FileError](err); ok {
		fmt.Fprintf(c.stderr, "gatehouse: %v", cfg.DenialsProblems(bad))
		return exitConfig
	}
	if errors.Is(err, app.ErrAudit) {
		fmt.Fprintf(c.stderr, "gatehouse: %v\n", err)
		return exitFailure
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: provider %s cannot be set up: %v\n", cfg.Kind, err)
		return exitProvider
	}
	c.stop.begin("output of the banner")
	c.announce(cfg, a, logger)
	for _, note := range app.Notes(cfg, a.Catalog) {
		logger.Warn(note)
	}
	c.stop.begin("server")
	logger.Info("serving", "listen", ln.Addr().String(), "resource", cfg.Resource.String(), "provider", cfg.Kind)
	if drain := cfg.Server.DrainTime; drain > 0 {
		defer context.AfterFunc(ctx, func() {
			logger.Info("stopping gracefully; a second signal (Ctrl-C) ends the process at once", "drain_time", drain)
		})()
	}
	err = server.Serve(ctx, ln, a.HTTP, cfg.Server, logger,
		server.Lifecycle{Draining: a.Drain, Closing: a.MCP.CloseStreams, Closed: a.Close})
	c.stop.begin("log")
	return logStopped(logger, err)
}

// serveListenError describes why the address cannot be listened on, with its origin. If its port is in use, it
// suggests a free one.
func serveListenError(cfg *configs.Config, err error) string {
	const key = "server.listen"
	i := slices.IndexFunc(cfg.Effective, func(v configs.Value) bool { return v.Key == key })
	setting := cfg.Effective[i]
	text := listenError(key+", "+setting.Origin, cfg.Server.Listen, err)
	host, taken, splitErr := net.SplitHostPort(cfg.Server.Listen)
	free, freeErr := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if !errors.Is(err, syscall.EADDRINUSE) || splitErr != nil || freeErr != nil {
		return text
	}
	defer free.Close()
	_, port, _ := net.SplitHostPort(free.Addr().String())
	listen := fmt.Sprintf("--%s=%s", key, net.JoinHostPort(host, port))
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

func listenError(key, address string, err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Sprintf("%s is in use by another program (%s); stop that program, or choose another address", address, key)
	}
	return fmt.Sprintf("cannot listen on %s (%s): %v", address, key, err)
}
