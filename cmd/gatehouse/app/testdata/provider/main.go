// Command server serves the tools of Gatehouse behind a provider of its own module.
package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/server"

	"example.com/tools/acme"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, logger *slog.Logger) error {
	cfg, err := load()
	if err != nil {
		return err // all problems of the configuration, each with its fix
	}
	ln, err := net.Listen("tcp", cfg.Server.Listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	a, err := app.New(ctx, cfg, app.DefaultCatalog, logger)
	if err != nil {
		return err
	}
	return server.Serve(ctx, ln, a.HTTP, cfg.Server, logger, a.Lifecycle())
}

// load accepts provider.kind "acme" in addition to the kinds of Gatehouse.
func load() (*configs.Config, error) {
	acmeKind := configs.Kind{
		Name: "acme", Summary: "a tenant of Acme",
		Defaults: func() providers.Settings { return &acme.Settings{} },
	}
	return configs.Load(configs.Sources{
		Dir: ".", Environ: os.Environ(), ExtraKinds: []configs.Kind{acmeKind},
	})
}
