package server

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"gatehouse/providers"
)

// Mount is the application behind the gate.
type Mount interface {
	// Route reads just enough of r to say which scopes the operation needs beyond those that every call needs, and
	// which handler serves it. It never acts on r. What it reads of the body, h knows. A request that cannot be
	// understood gets a handler that says so. The connection has no write deadline when h is called: h sets those that it
	// wants. done must be called once, when the request is over, whether h was called or not: it gives back what Route took.
	Route(r *http.Request) (scopes []string, h http.Handler, done func())
}

// Config is all that [New] needs to know besides the provider and the mount. It is built from values that were checked.
type Config struct {
	// Resource is the canonical URL of what is protected. Mount path, metadata and challenges derive from it.
	Resource providers.Resource
	// Settings are the section "server" of the configuration.
	Settings Settings
	// RequiredScopes are needed by every call.
	RequiredScopes []string
	// Implies says which scopes a broader one includes.
	Implies ScopeHierarchy
	// KnownScopes are all scopes that a rule of this server mentions. A challenge for more scopes repeats
	// those of them that the token holds, because clients ask for what the challenge names and lose the rest.
	KnownScopes []string
	// ToolScopes are the scopes that belong to a tool, prompt or resource, including those that are not
	// offered now. A challenge names one of them only if the operation needs it or the token holds it.
	ToolScopes []string
	// Logger gets the access log, one line for each request. It must not be nil.
	Logger *slog.Logger
	// RequestCounts counts how requests end. It may be nil.
	Counts *RequestCounts
	// Draining ends when the server is about to stop: from then on it says that it is not ready. Nil means never.
	Draining context.Context
	// IsStuck reports that the application behind the gate cannot serve any request until the process is restarted. Then
	// /health says so. Nil means never.
	IsStuck func() bool
}

// ReservedPath reports whether this package serves path itself, so that nothing can be mounted there.
func ReservedPath(path string) bool {
	return path == healthPath || path == readyPath || strings.HasPrefix(path, "/.well-known/") || path == "/.well-known"
}
