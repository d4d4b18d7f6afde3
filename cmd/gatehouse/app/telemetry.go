package app

import (
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/configs"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/server"
)

// Option is an option of [New].
type Option func(*App)

// WithTelemetry records metrics by meter and spans by tracer. Each may be nil.
func WithTelemetry(meter metric.Meter, tracer trace.Tracer) Option {
	return func(a *App) { a.meter, a.tracer = meter, tracer }
}

// AuthorizationServerAlone serves the routes of the provider's authorization server, and neither tools nor MCP.
func AuthorizationServerAlone() Option { return func(a *App) { a.alone = true } }

// openTelemetry returns what the server records with; nil if neither metrics nor spans are recorded.
func (a *App) openTelemetry() (*server.Telemetry, error) {
	names := server.KnownNames{
		Methods: mcphttp.Methods(), Versions: mcp.SupportedProtocolVersions(), Reasons: configs.Reasons(),
		Resource: func(uri string) string { return a.MCP.ResourceName(uri) },
	}
	for _, tool := range a.Catalog.Tools {
		names.Tools = append(names.Tools, tool.Name)
	}
	for _, prompt := range a.Catalog.Prompts {
		names.Prompts = append(names.Prompts, prompt.Prompt.Name)
	}
	return server.NewTelemetry(a.meter, a.tracer, names)
}
