// Package house puts the parts together: a provider, the MCP handler and the chain in front of it, from one valid
// configuration. The commands and the tests use it; nothing below knows of it.
package house

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/demo"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
	"gatehouse/server"
)

// House is everything that runs.
type House struct {
	Provider providers.Provider
	Catalog  mcptools.Catalog
	MCP      *mcphttp.Handler
	HTTP     http.Handler

	drain context.CancelFunc
}

// Offer makes the catalog of a server from the section "tools" of its configuration. It is called once.
type Offer func(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog

// Tools is the offer of the product itself: the tools of [mcptools.All], and the demo tools if tools.demo is set.
func Tools(settings mcptools.ToolSettings, v mcptools.Stats) mcptools.Catalog {
	tools := mcptools.All(v)
	if settings.Demo {
		tools = append(tools, demo.Tools(v)...)
	}
	return mcptools.Catalog{Tools: tools}
}

// Build puts the house together. What runs in the background ends with ctx. The error is the provider's.
func Build(ctx context.Context, cfg *configs.Config, offer Offer, logger *slog.Logger) (*House, error) {
	h := &House{}
	outcomes := &server.RequestCounts{}
	h.Catalog = offer(cfg.Tools, mcptools.Stats{
		Started:  time.Now(),
		Outcomes: outcomes.Snapshot,
		Sessions: func() int { return h.MCP.Sessions() },
		Keys:     func() providers.KeyStatus { return keyStatus(h.Provider) },
	})
	info := mcp.Implementation{Name: "gatehouse", Title: title, Version: Version()}
	var err error
	serverInfo := ServerInfo(cfg, h.Catalog, logger)
	h.Provider, err = cfg.Provider.Open(ctx, serverInfo)
	if err != nil {
		return nil, err
	}
	h.MCP = mcphttp.NewHandler(mcphttp.Config{
		Settings: cfg.MCP, Tools: cfg.Tools, Info: info, RequiredScopes: cfg.Scopes.Required,
		MaxBodyBytes: cfg.Server.MaxBodyBytes, Logger: logger, Recorder: recorder{},
	}, h.Catalog)
	go h.MCP.Probe(ctx)

	draining, drain := context.WithCancel(context.WithoutCancel(ctx))
	h.drain = drain
	h.HTTP = server.New(server.Config{
		Resource:       cfg.Resource,
		Settings:       cfg.Server,
		RequiredScopes: cfg.Scopes.Required,
		Implies:        cfg.Scopes.Implications(),
		KnownScopes:    serverInfo.KnownScopes,
		ToolScopes:     toolScopes(h.Catalog),
		Logger:         logger,
		Counts:         outcomes,
		Draining:       draining,
		IsStuck:        h.MCP.IsStuck,
	}, h.Provider, h.MCP)
	return h, nil
}

// title is the server's name for people.
const title = "Gatehouse"

// ServerInfo is what the provider is told about the server of this configuration.
func ServerInfo(cfg *configs.Config, catalog mcptools.Catalog, logger *slog.Logger) providers.ServerInfo {
	return providers.ServerInfo{
		Resource:      cfg.Resource,
		Name:          title,
		InitialScopes: cfg.Scopes.Initial,
		KnownScopes:   knownScopes(cfg, catalog),
		UserAgent:     UserAgent(),
		Logger:        logger,
	}
}

// UserAgent is what requests to the provider carry (RFC 9110, section 10.1.5). A version is a token there, so what a token
// cannot hold is left out.
func UserAgent() string {
	return "gatehouse/" + strings.Map(func(r rune) rune {
		if r > '~' || !strings.ContainsRune("!#$%&'*+-.^_`|~", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return r
	}, Version())
}

// knownScopes are all scopes that any rule of this server mentions: what the local issuer may be asked for.
func knownScopes(cfg *configs.Config, catalog mcptools.Catalog) []string {
	known := Distinct(cfg.Scopes.Required, cfg.Scopes.Initial, catalog.Scopes())
	implications := cfg.Scopes.Implications()
	for _, broad := range slices.Sorted(maps.Keys(implications)) {
		known = Distinct(known, []string{broad}, implications[broad])
	}
	return known
}

// InitialScopes are the scopes that a token has after first sign-in, those that others imply included.
func InitialScopes(cfg *configs.Config) []string {
	scopes, implications := cfg.Scopes.Initial, cfg.Scopes.Implications()
	for i := 0; i < len(scopes); i++ { // scopes grows, so chains are followed to their end
		scopes = Distinct(scopes, implications[scopes[i]])
	}
	return scopes
}

// toolScopes are the scopes of what is offered, and those of the demo tools whether they are offered or not:
// provider.scopes_advertised may name them, and a challenge must not ask for what no operation needs.
func toolScopes(catalog mcptools.Catalog) []string {
	return Distinct(catalog.Scopes(), demo.Scopes())
}

// Drain makes the server say that it is not ready.
func (h *House) Drain() { h.drain() }

func keyStatus(p providers.Provider) providers.KeyStatus {
	if r, ok := p.(providers.KeyReporter); ok {
		return r.Keys()
	}
	return providers.KeyStatus{}
}

// version is set by the linker (-X) where the toolchain cannot know it: an image is built without the repository's history.
var version string

// Version is what the linker was told, else what the Go toolchain wrote into the binary: a version, or the commit it was built
// from.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision[:min(12, len(revision))] + modified
}

// Distinct joins lists, keeping the first of equal entries.
func Distinct(lists ...[]string) []string {
	var out []string
	seen := map[string]bool{}
	for _, list := range lists {
		for _, s := range list {
			if !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}
