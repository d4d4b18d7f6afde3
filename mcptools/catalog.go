package mcptools

import (
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
)

// Catalog is everything that a server offers. Each entry requires the scopes that every call needs, and its own.
type Catalog struct {
	Tools             []Tool
	Prompts           []Prompt
	Resources         []Resource
	ResourceTemplates []ResourceTemplate
	// Options sets what no entry can declare, such as completion or subscriptions. It may be nil. KeepAlive
	// and GetSessionID have no effect, because sessions are kept outside the SDK, and neither has PageSize,
	// because lists are not paginated.
	Options func(*mcp.ServerOptions)
}

// Prompt is a prompt and the scopes that getting it needs.
type Prompt struct {
	Prompt  *mcp.Prompt
	Scopes  []string
	Handler mcp.PromptHandler
}

// Resource is a resource and the scopes that reading it needs.
type Resource struct {
	Resource *mcp.Resource
	Scopes   []string
	Handler  mcp.ResourceHandler
}

// ResourceTemplate is a family of resources (RFC 6570) and the scopes that reading one of them needs.
type ResourceTemplate struct {
	Template *mcp.ResourceTemplate
	Scopes   []string
	Handler  mcp.ResourceHandler
}

// Scopes returns the scopes of all entries, without duplicates, in the order of the catalog.
func (c Catalog) Scopes() []string {
	var scopes []string
	for _, t := range c.Tools {
		scopes = providers.MergeScopes(scopes, t.Scopes)
	}
	for _, p := range c.Prompts {
		scopes = providers.MergeScopes(scopes, p.Scopes)
	}
	for _, r := range c.Resources {
		scopes = providers.MergeScopes(scopes, r.Scopes)
	}
	for _, t := range c.ResourceTemplates {
		scopes = providers.MergeScopes(scopes, t.Scopes)
	}
	return scopes
}

// Register adds all entries to s. It does not check scopes; package mcphttp does.
func (c Catalog) Register(s *mcp.Server) {
	for _, t := range c.Tools {
		t.register(s)
	}
	for _, p := range c.Prompts {
		s.AddPrompt(p.Prompt, p.Handler)
	}
	for _, r := range c.Resources {
		s.AddResource(r.Resource, r.Handler)
	}
	for _, t := range c.ResourceTemplates {
		s.AddResourceTemplate(t.Template, t.Handler)
	}
}
