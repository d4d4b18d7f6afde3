package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
)

// banner tells a person what to do next.
func banner(w io.Writer, cfg *configs.Config, h *house.House) {
	metadata := h.Provider.Metadata()
	kind, _ := providers.KindNamed(cfg.Kind)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nGatehouse %s\n\n", house.Version())
	fmt.Fprintf(t, "  Connect\t%s\n", cfg.Resource)
	fmt.Fprintf(t, "  Provider\t%s: %s\n", kind.Name, kind.Summary)
	fmt.Fprintf(t, "  Issuer\t%s\n", strings.Join(metadata.AuthorizationServers, ", "))
	fmt.Fprintf(t, "  Metadata\t%s\n", cfg.Resource.MetadataURL())
	t.Flush()

	fmt.Fprintf(w, "\n  Tools\n")
	for _, tool := range h.Catalog.Tools {
		fmt.Fprintf(t, "    %s\t%s\n", tool.Name, scopesInWords(tool, cfg.Scopes.Required))
	}
	t.Flush()

	fmt.Fprintf(w, "\n  MCP Inspector   npx @modelcontextprotocol/inspector --transport http --server-url %s\n", cfg.Resource)
	fmt.Fprintf(w, "  Claude Code     claude mcp add --transport http gatehouse %s\n\n", cfg.Resource)
	for _, note := range cfg.Notes {
		fmt.Fprintf(w, "  Note: %s\n", note)
	}
	if _, isLocal := cfg.Provider.(*providers.Local); isLocal {
		fmt.Fprintf(w, "  The local issuer is for demos only: anyone can sign in as anyone.\n\n")
	}
}

// scopesInWords is what a caller of tool needs in all.
func scopesInWords(tool mcptools.Tool, required []string) string {
	if all := house.Distinct(required, tool.Scopes); len(all) > 0 {
		return strings.Join(all, " ")
	}
	return "any token"
}
