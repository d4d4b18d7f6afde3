package server

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

// Mount is the application that the chain protects.
type Mount interface {
	// Route reads just enough of r to name the scopes that the operation needs beyond
	// [Config].RequiredScopes, and the handler that serves it. It has no side effects. h sees the full body,
	// including what Route consumed. An invalid request gets a handler that responds with the error. The
	// connection has no write deadline when h is called; h sets its own. done releases what Route holds and
	// must be called exactly once when the request is over, whether or not h was called.
	Route(r *http.Request) (scopes []string, h http.Handler, done func())
}

// Config configures [New]. It is built from validated values.
type Config struct {
	// Resource is the canonical URL of the protected resource. Mount path, metadata and challenges derive
	// from it.
	Resource providers.Resource
	// Settings are the section "server" of the configuration.
	Settings Settings
	// RequiredScopes are needed by every call.
	RequiredScopes []string
	// Implies maps broad scopes to the scopes that they include.
	Implies ScopeHierarchy
	// KnownScopes are all scopes that a rule of this server mentions. A step-up challenge repeats those that
	// the token holds, because clients request exactly the scopes of the challenge and lose the others.
	KnownScopes []string
	// ToolScopes are the scopes of tools, prompts and resources, including those that are not offered now. A
	// challenge names one only if the operation needs it or the token holds it.
	ToolScopes []string
	// Routes are public, in addition to those of this package and of the provider.
	Routes []providers.Route
	// Logger receives the access log, one line for each request. It must not be nil.
	Logger *slog.Logger
	// Audit receives one record for each operation, and counts of refused requests without a token. Nil means
	// that there is no audit log.
	Audit *audit.Log
	// Digest identifies the configuration in audit records.
	Digest string
	// Shared is what servers of one process share; nil means that there is no other.
	Shared *Shared
	// Denials tells which callers the operator has denied. Nil means none.
	Denials Denials
	// Counts counts requests by how they ended. It may be nil.
	Counts *RequestCounts
	// Telemetry records metrics and spans. Nil means that there are none.
	Telemetry *Telemetry
	// Draining is done once the server is about to stop: from then on /readyz reports 503. Nil means never.
	Draining context.Context
	// IsStuck reports that the application cannot serve requests until the process restarts; /health then
	// reports 503. Nil means never.
	IsStuck func() bool
}

func (c Config) withShared() Config {
	if c.Shared == nil {
		c.Shared = NewShared(c.Settings, c.Logger)
	}
	return c
}

// ReservedPath reports whether this package serves path itself, so that the mount cannot use it.
func ReservedPath(path string) bool {
	return path == healthPath || path == readyPath ||
		path == "/.well-known" || strings.HasPrefix(path, "/.well-known/")
}
