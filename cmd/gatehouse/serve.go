package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/server"
)

func serve(ctx context.Context, args []string, c console) int {
	flags := newFlags("serve", "Serve the MCP tools behind OAuth.\n\n"+settingsHelp, c)
	load := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	cfg, err := load()
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %v", err)
		return exitConfig
	}
	logger := newLogger(cfg.Log, c.stderr)
	ln, err := net.Listen("tcp", cfg.Server.Listen)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: %s\n", portProblem("server.listen", cfg.Server.Listen, err))
		return exitPort
	}
	defer ln.Close()
	h, err := house.Build(ctx, cfg, house.Tools, logger)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: provider %s cannot be set up: %v\n", cfg.Kind, err)
		return exitProvider
	}
	banner(c.stdout, cfg, h)
	logger.Info("serving", "listen", ln.Addr().String(), "resource", cfg.Resource.String(), "provider", cfg.Kind)
	err = server.Serve(ctx, ln, h.HTTP, cfg.Server, logger, server.Lifecycle{Draining: h.Drain, Closing: h.MCP.CloseStreams})
	h.MCP.CloseSessions()
	if err != nil {
		logger.Error("stopped", "error", err)
		return exitFailure
	}
	logger.Info("stopped")
	return exitOK
}

func portProblem(key, address string, err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Sprintf("%s is in use by another program; stop that one, or choose another address with %s", address, key)
	}
	return fmt.Sprintf("cannot listen on %s (%s): %v", address, key, err)
}
