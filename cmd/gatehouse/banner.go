package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
)

// showsBanner reports whether a banner is written. A log in JSON must be the only output, except on a
// terminal.
func (c console) showsBanner(log configs.Log) bool { return log.Format != "json" || c.terminal }

// announce prints the banner, or logs those of its lines that an operator must not miss.
func (c console) announce(cfg *configs.Config, a *app.App, operator string, logger *slog.Logger) {
	if c.showsBanner(cfg.Log) {
		banner(c.stdout, cfg, a, operator)
		return
	}
	kind, _ := configs.KindNamed(cfg.Kind)
	for _, note := range append(slices.Clone(cfg.Notes), kind.Banner) {
		if note != "" {
			logger.Warn(note)
		}
	}
}

// banner prints what clients connect to, the tools, and commands to try them. operator is the address of the status
// page; it may be empty.
func banner(w io.Writer, cfg *configs.Config, a *app.App, operator string) {
	metadata := a.Provider().Metadata()
	kind, _ := configs.KindNamed(cfg.Kind)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nGatehouse %s\n\n", app.Version())
	fmt.Fprintf(t, "  Connect\t%s\n", cfg.Resource)
	fmt.Fprintf(t, "  Provider\t%s: %s\n", kind.Name, kind.Summary)
	fmt.Fprintf(t, "  Issuer\t%s\n", strings.Join(metadata.AuthorizationServers, ", "))
	fmt.Fprintf(t, "  Sign-in\t%s\n", signInText(cfg, kind))
	fmt.Fprintf(t, "  Metadata\t%s\n", cfg.Resource.MetadataURL())
	if operator != "" {
		fmt.Fprintf(t, "  Status\t%s\n", operator)
	}
	t.Flush()

	if upstreams := a.Upstreams(); len(upstreams) > 0 {
		fmt.Fprintf(w, "\n  Upstreams\n")
		listUpstreams(w, cfg, upstreams)
	}
	fmt.Fprintf(w, "\n  Tools\n")
	listTools(w, cfg, a.Catalog.Tools)
	const inspector = "npx @modelcontextprotocol/inspector@latest --transport http --server-url"
	fmt.Fprintf(w, "\n  MCP Inspector   %s %s\n", inspector, cfg.Resource)
	fmt.Fprintf(w, "  Claude Code     claude mcp add --transport http gatehouse %s\n\n", cfg.Resource)
	for _, note := range cfg.Notes {
		fmt.Fprintf(w, "  Note: %s\n", note)
	}
	if kind.Banner != "" {
		fmt.Fprintf(w, "  %s\n\n", kind.Banner)
	}
}

// signInText says who can use the tools.
func signInText(cfg *configs.Config, kind configs.Kind) string {
	switch required := cfg.Scopes.Required; {
	case kind.SignIn != "":
		return kind.SignIn
	case len(required) == 0:
		return "everyone with a token of the issuer for this server"
	default:
		return "everyone with a token of the issuer for this server and the scope " + strings.Join(required, " ")
	}
}

// listUpstreams prints each upstream with what it offers.
func listUpstreams(w io.Writer, cfg *configs.Config, all []upstream.Status) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, status := range all {
		i := slices.IndexFunc(cfg.Upstreams, func(s upstream.Settings) bool { return s.Name == status.Name })
		definitions := "as found at start"
		if status.Pinned {
			definitions = "pinned"
		}
		fmt.Fprintf(t, "    %s\t%s\t%s\t%s, %d offered\t%s\n", status.Name,
			shorten(cfg.Upstreams[i].Target()), cmp.Or(status.Era, string(status.State)),
			countOf(status.Tools, "tool"), status.Offered, definitions)
	}
	t.Flush()
}

// shorten cuts a command or a URL that is too long for a line.
func shorten(text string) string {
	const limit = 80
	if len(text) <= limit {
		return providers.Printable(text, limit)
	}
	return providers.Printable(strings.ToValidUTF8(text[:limit-3], ""), limit-3) + "..."
}

// listTools prints each tool with its scopes, and which of them the first sign-in does not request.
func listTools(w io.Writer, cfg *configs.Config, tools []mcptools.Tool) {
	if len(tools) == 0 {
		fmt.Fprintf(w, "    none: %s\n", app.NoToolsHint(cfg))
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	initial, steppingUp := cfg.Scopes.Implications().Expand(cfg.Scopes.Initial), 0
	isInitial := func(scope string) bool { return slices.Contains(initial, scope) }
	for _, tool := range tools {
		fmt.Fprintf(t, "    %s\t%s", tool.Name, scopesText(tool.Scopes, cfg.Scopes.Required))
		if more := slices.DeleteFunc(slices.Clone(tool.Scopes), isInitial); len(more) > 0 {
			fmt.Fprintf(t, "\tasks for more: %s", strings.Join(more, " "))
			steppingUp++
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	switch {
	case steppingUp == 0:
	case cfg.Tools.ShowAll:
		fmt.Fprint(w, "    First sign-in does not cover tools that ask for more: a call of one starts another sign-in.\n")
	default:
		fmt.Fprintf(w, "    First sign-in shows %d of the %d tools. The others are listed only to callers with their "+
			"scopes;\n    tools.show_all lists them to all.\n", len(tools)-steppingUp, len(tools))
	}
}

// scopesText lists all scopes that a call of a tool needs.
func scopesText(ofTool, required []string) string {
	if all := providers.MergeScopes(nil, required, ofTool); len(all) > 0 {
		return strings.Join(all, " ")
	}
	return "any token"
}
