package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/configs"
	"gatehouse/mcptools"
)

// banner tells a person what to do next.
func banner(w io.Writer, cfg *configs.Config, h *house.House) {
	metadata := h.Provider.Metadata()
	kind, _ := configs.KindNamed(cfg.Kind)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nGatehouse %s\n\n", house.Version())
	fmt.Fprintf(t, "  Connect\t%s\n", cfg.Resource)
	fmt.Fprintf(t, "  Provider\t%s: %s\n", kind.Name, kind.Summary)
	fmt.Fprintf(t, "  Issuer\t%s\n", strings.Join(metadata.AuthorizationServers, ", "))
	fmt.Fprintf(t, "  Metadata\t%s\n", cfg.Resource.MetadataURL())
	t.Flush()

	fmt.Fprintf(w, "\n  Tools\n")
	listTools(w, cfg, h.Catalog.Tools)
	fmt.Fprintf(w, "\n  MCP Inspector   npx @modelcontextprotocol/inspector --transport http --server-url %s\n", cfg.Resource)
	fmt.Fprintf(w, "  Claude Code     claude mcp add --transport http gatehouse %s\n\n", cfg.Resource)
	for _, note := range cfg.Notes {
		fmt.Fprintf(w, "  Note: %s\n", note)
	}
	if kind.Banner != "" {
		fmt.Fprintf(w, "  %s\n\n", kind.Banner)
	}
}

// listTools shows each tool with its scopes, and which of them first sign-in does not ask for.
func listTools(w io.Writer, cfg *configs.Config, tools []mcptools.Tool) {
	if len(tools) == 0 {
		fmt.Fprintf(w, "    none: %s\n", house.AddATool)
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	initial, asking := house.InitialScopes(cfg), 0
	for _, tool := range tools {
		fmt.Fprintf(t, "    %s\t%s", tool.Name, scopesInWords(tool, cfg.Scopes.Required))
		isCovered := func(scope string) bool { return slices.Contains(initial, scope) }
		if more := slices.DeleteFunc(slices.Clone(tool.Scopes), isCovered); len(more) > 0 {
			fmt.Fprintf(t, "\tasks for more: %s", strings.Join(more, " "))
			asking++
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	switch {
	case asking == 0:
	case cfg.Tools.ShowAll:
		fmt.Fprint(w, "    First sign-in does not cover tools that ask for more: a call of one starts another sign-in.\n")
	default:
		fmt.Fprintf(w, "    First sign-in shows %d of the %d tools. The others are listed only to callers who hold their scopes;\n"+
			"    tools.show_all lists them to all.\n", len(tools)-asking, len(tools))
	}
}

// scopesInWords is what a caller of tool needs in all.
func scopesInWords(tool mcptools.Tool, required []string) string {
	if all := house.Distinct(required, tool.Scopes); len(all) > 0 {
		return strings.Join(all, " ")
	}
	return "any token"
}
