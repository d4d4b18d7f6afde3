// Package doctor examines a configuration, the provider that it names, and the server that should run with it, from
// outside: it says what was expected, what was found and what to do. It changes nothing, and asks each question once.
package doctor

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"time"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// Options say what is examined.
type Options struct {
	// Config is the configuration, which is valid.
	Config *configs.Config
	// ServerInfo is what the provider is told about the server.
	ServerInfo providers.ServerInfo
	// ToolScopes are the scopes that what the server offers needs, beyond those that every call needs.
	ToolScopes []string
	// Tools is how many tools the server offers with this configuration.
	Tools int
	// Token is presented to the server, if there is one.
	Token string
	// LocalHealth is where the server answers on this computer, whatever its public address is; "" if nobody knows.
	LocalHealth string
	// Timeout bounds all checks together. Each may take a quarter of it.
	Timeout time.Duration

	// Resolver, RootCAs and Proxy are for tests: nil means those of the system.
	Resolver *net.Resolver
	RootCAs  *x509.CertPool
	Proxy    func(*http.Request) (*url.URL, error)
}

// DefaultTimeout bounds an examination unless somebody says otherwise.
const DefaultTimeout = 10 * time.Second

// Examine makes all checks, one after the other, and returns what each found.
func Examine(ctx context.Context, o Options) []Result {
	e := &examination{Options: o, network: newNetwork(o)}
	defer e.network.close()
	if d, ok := o.Config.Provider.(diagnostics.Diagnoser); ok {
		e.diagnosis = d.Diagnose(o.ServerInfo)
		e.known = true
	}
	e.configuration()
	// An embedded issuer is reached through the server, so the server comes first.
	server := e.newOwnServer()
	if e.diagnosis.Embedded {
		e.server(server)
		e.provider(server.reachable)
	} else {
		e.provider(nil)
		e.server(server)
	}
	return e.checks.run(ctx, o.Timeout)
}

// examination is the list of checks in the making.
type examination struct {
	Options
	network   *network
	diagnosis diagnostics.Diagnosis
	known     bool // the diagnosis is
	checks    list
}
