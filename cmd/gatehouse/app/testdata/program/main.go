// Command tools serves its own tool with the server, the configuration and the providers of Gatehouse.
package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/server"
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
	cfg, err := configs.Load(configs.Sources{Dir: ".", Environ: os.Environ()})
	if err != nil {
		return err // all problems of the configuration, each with its fix
	}
	ln, err := net.Listen("tcp", cfg.Server.Listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	a, err := app.New(ctx, cfg, catalog, logger)
	if err != nil {
		return err
	}
	logger.Info("serving", "resource", cfg.Resource.String(), "provider", cfg.Kind)
	return server.Serve(ctx, ln, a.HTTP, cfg.Server, logger, a.Lifecycle())
}

func catalog(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog {
	return mcptools.Catalog{Tools: []mcptools.Tool{twice()}}
}

func twice() mcptools.Tool {
	type input struct{ N int }
	type output struct{ Twice int }
	return mcptools.Define(mcptools.Definition{
		Name: "twice", Description: "Doubles a number.", Scopes: []string{"math:read"}, ReadOnly: true,
	}, func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, output, error) {
		return nil, output{Twice: 2 * in.N}, nil
	})
}
