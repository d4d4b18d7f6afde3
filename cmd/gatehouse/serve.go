package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/configs"
	"gatehouse/server"
)

func serve(ctx context.Context, args []string, c console) int {
	flags := newFlags("serve", "Serve the MCP tools behind OAuth.\n\n"+settingsHelp, c)
	cfg, code, done := configured(flags, args, c)
	if done {
		return code
	}
	logger := newLogger(cfg.Log, c.stderr)
	c.stop.serving(cfg.Server, logger)
	c.stop.begin("start of the server")
	tuneCollector(c.environ, cgroupFile, logger)
	ln, err := net.Listen("tcp", cfg.Server.Listen)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %s\n", servePortProblem(cfg, err))
		return exitPort
	}
	defer ln.Close()
	h, err := house.Build(ctx, cfg, house.Tools, logger)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: provider %s cannot be set up: %v\n", cfg.Kind, err)
		return exitProvider
	}
	c.stop.begin("output of the banner")
	banner(c.stdout, cfg, h)
	for _, note := range house.Notes(cfg, h.Catalog) {
		logger.Warn(note)
	}
	c.stop.begin("server")
	logger.Info("serving", "listen", ln.Addr().String(), "resource", cfg.Resource.String(), "provider", cfg.Kind)
	err = server.Serve(ctx, ln, h.HTTP, cfg.Server, logger,
		server.Lifecycle{Draining: h.Drain, Closing: h.MCP.CloseStreams, Closed: h.MCP.CloseSessions})
	c.stop.begin("log")
	return stopped(logger, err)
}

// servePortProblem says why the address cannot be had, where it came from, and which to take instead.
func servePortProblem(cfg *configs.Config, err error) string {
	const key = "server.listen"
	i := slices.IndexFunc(cfg.Effective, func(v configs.Value) bool { return v.Key == key })
	said := cfg.Effective[i]
	text := portProblem(key+", "+said.Origin, cfg.Server.Listen, err)
	host, taken, splitErr := net.SplitHostPort(cfg.Server.Listen)
	free, freeErr := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if !errors.Is(err, syscall.EADDRINUSE) || splitErr != nil || freeErr != nil {
		return text
	}
	defer free.Close()
	_, port, _ := net.SplitHostPort(free.Addr().String())
	listen := fmt.Sprintf("--%s=%s", key, net.JoinHostPort(host, port))
	dialled := fmt.Sprintf("--resource=http://localhost:%s%s", port, cfg.Resource.Path())
	advice := listen
	switch {
	case cfg.Resource.IsLoopback() && !said.IsExplicit():
		advice = dialled // and the address follows
	case cfg.Resource.IsLoopback() && strings.HasSuffix(cfg.Resource.Host(), ":"+taken):
		advice = dialled + " " + listen
	}
	return text + fmt.Sprintf(", such as %s (that port is free)", advice)
}

func portProblem(key, address string, err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Sprintf("%s is in use by another program (%s); stop that one, or choose another address", address, key)
	}
	return fmt.Sprintf("cannot listen on %s (%s): %v", address, key, err)
}
