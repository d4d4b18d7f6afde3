package main

import (
	"context"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/pflag"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/server"
)

// serve does what `gatehouse serve` does, with another catalog: the configuration is read from the same
// sources, and the constructor and the server are the same.
func serve(ctx context.Context, args []string) error {
	flags := configs.Flags()
	if err := flags.Parse(args); err != nil {
		return err
	}
	set := map[string]string{}
	flags.Visit(func(f *pflag.Flag) { set[f.Name] = f.Value.String() })
	cfg, err := configs.Load(configs.Sources{Environ: os.Environ(), Flags: set})
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.Log.SlogLevel()}))
	ln, err := net.Listen("tcp", cfg.Server.Listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	h, err := app.New(ctx, cfg, catalog, logger)
	if err != nil {
		return err
	}
	err = server.Serve(ctx, ln, h.HTTP, cfg.Server, logger,
		server.Lifecycle{Draining: h.Drain, Closing: h.MCP.CloseStreams})
	h.Close()
	return err
}
