package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gatehouse/providers"
)

// Mount is the application behind the gate.
type Mount interface {
	// Route reads just enough of r to say which scopes the operation needs beyond those that every call needs, and
	// which handler serves it. It never acts on r. What it reads of the body it puts back. A request that cannot be
	// understood gets a handler that says so.
	Route(r *http.Request) (scopes []string, h http.Handler)
}

// Config is all that [New] needs to know besides the provider and the mount. It is built from values that were checked.
type Config struct {
	// Resource is the canonical URL of what is protected. Mount path, metadata and challenges derive from it.
	Resource providers.Resource
	// Settings are the section "server" of the configuration.
	Settings Settings
	// RequiredScopes are needed by every call.
	RequiredScopes []string
	// Logger gets the access log, one line for each request. It must not be nil.
	Logger *slog.Logger
	// Outcomes counts how requests end. It may be nil.
	Outcomes *Outcomes
	// Draining ends when the server is about to stop: from then on it says that it is not ready. Nil means never.
	Draining context.Context
}

// Settings are the section "server" of the configuration.
type Settings struct {
	Listen         string   `koanf:"listen" help:"host:port to listen on"`
	AllowedOrigins []string `koanf:"allowed_origins" help:"web origins whose scripts may call the MCP endpoint: exact, or http://localhost:* for any port"`
}

// DefaultSettings returns the section before anything was configured.
func DefaultSettings() Settings {
	return Settings{Listen: "127.0.0.1:3002", AllowedOrigins: []string{}}
}

// Check reports every setting that cannot be right, all at once. The key is relative to the section.
func (s Settings) Check(report func(key, reason, wayOut string)) {
	if host, port, err := net.SplitHostPort(s.Listen); err != nil {
		report("listen", "it is not host:port", "use 127.0.0.1:3002, or :3002 for every address of this computer")
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		report("listen", "its port is not a number from 0 to 65535", "use 127.0.0.1:3002")
	} else if _ = n; strings.Contains(host, "/") {
		report("listen", "its host is not a name or an address", "use 127.0.0.1:3002")
	}
	for _, origin := range s.AllowedOrigins {
		if reason := checkOrigin(origin); reason != "" {
			report("allowed_origins", strconv.Quote(origin)+" "+reason, "use scheme://host[:port] as browsers send it, for example https://inspector.example.com")
		}
	}
}

func checkOrigin(origin string) string {
	if slices.Contains(anyPortOrigins, origin) {
		return ""
	}
	u, err := url.Parse(origin)
	switch {
	case origin == "*" || strings.Contains(origin, "*"):
		return "is a pattern; only http://localhost:*, http://127.0.0.1:* and http://[::1]:* are, because others match more than they seem to"
	case origin == "null":
		return "stands for any sandboxed page"
	case err != nil || u.Scheme == "" || u.Host == "":
		return "is not an origin"
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "has more than scheme, host and port"
	case origin != strings.ToLower(origin):
		return "has capital letters, which browsers never send"
	}
	return ""
}

// ReservedPath reports whether this package serves path itself, so that nothing can be mounted there.
func ReservedPath(path string) bool {
	return path == healthPath || path == readyPath || strings.HasPrefix(path, "/.well-known/") || path == "/.well-known"
}
