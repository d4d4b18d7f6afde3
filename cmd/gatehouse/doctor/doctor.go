// Package doctor checks a configuration, the identity provider that it names, and the server that should run
// with it, from outside. Each result has what was expected, what was found, and the fix. Nothing is changed.
package doctor

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"time"

	"gatehouse/configs"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// Config describes what is checked.
type Config struct {
	// Settings is the configuration of the server. It is valid.
	Settings *configs.Config
	// ServerInfo is what the provider's adapter gets from the server.
	ServerInfo providers.ServerInfo
	// ToolScopes are the scopes that tools need in addition to those that every call needs.
	ToolScopes []string
	// Tools is the number of tools that the server offers with this configuration.
	Tools int
	// Token is an access token to call the server with; it may be empty.
	Token string
	// LocalHealth is the server's /health on this computer, regardless of its public address; empty if unknown.
	LocalHealth string
	// Alone is set if the server is an authorization server alone (`gatehouse broker`), without an MCP endpoint.
	Alone bool
	// Container is set if this program runs in a container.
	Container bool
	// OwnTools are the names of the tools that are not those of an upstream.
	OwnTools []string
	// Upstreams is what the upstreams in Settings have in common, and KeysPath where the server publishes the keys of the
	// tokens for them.
	Upstreams upstream.Options
	KeysPath  string
	// Timeout limits all checks together. Each check may take a quarter of it; those that start an upstream run from the
	// beginning.
	Timeout time.Duration

	// Resolver, RootCAs, Proxy and DiskOf are for tests. Nil means those of the system. DiskOf returns the file system
	// of a folder.
	Resolver *net.Resolver
	RootCAs  *x509.CertPool
	Proxy    func(*http.Request) (*url.URL, error)
	DiskOf   func(dir string) (Disk, error)
}

// DefaultTimeout is the default of Config.Timeout.
const DefaultTimeout = 10 * time.Second

// Examine runs all checks, one after the other, and returns a result for each.
func Examine(ctx context.Context, c Config) []Result {
	e := &examination{Config: c, network: newNetwork(c)}
	defer e.network.close()
	endUpstreams := e.newUpstreamChecks(ctx)
	defer endUpstreams()
	e.diagnose(ctx)
	e.addConfigChecks()
	e.addAuditChecks()
	// An embedded issuer is reached through the server, so the server is checked first.
	server := e.newServerChecks()
	if e.diagnosis.Embedded {
		server.add()
		e.addProviderChecks(server.reachable)
	} else {
		e.addProviderChecks(nil)
		server.add()
	}
	e.addUpstreamChecks(server)
	e.addOperatorCheck()
	e.addTelemetryChecks()
	return e.checks.run(ctx, c.Timeout)
}

// examination collects the checks to run.
type examination struct {
	Config
	network   *network
	diagnosis diagnostics.Diagnosis
	// generic is set if the kind has no diagnosis of its own.
	generic bool
	// openError is why the provider of such a kind could not be opened, which leaves diagnosis empty.
	openError error
	upstreams []*upstreamChecks
	checks    checkList
}

// diagnose gets the facts about the provider. A kind without a diagnosis of its own is described by its
// metadata, which every provider has.
func (e *examination) diagnose(ctx context.Context) {
	if d, ok := e.Settings.Provider.(diagnostics.Diagnoser); ok {
		e.diagnosis = d.Diagnose(e.ServerInfo)
		return
	}
	e.generic = true
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // only the document is needed, not what the provider runs in the background
	provider, err := e.Settings.Provider.Open(ctx, e.ServerInfo)
	if err != nil {
		e.openError = err
		return
	}
	e.diagnosis = diagnostics.FromMetadata(provider.Metadata())
	if routes, ok := provider.(providers.RouteProvider); ok {
		e.diagnosis.Embedded = len(routes.Routes()) > 0
	}
}
