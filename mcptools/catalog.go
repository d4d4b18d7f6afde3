package mcptools

import (
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/yosida95/uritemplate/v3"
)

// Catalog is everything that a server offers. Whatever is in it is guarded alike: by the scopes that every call needs and
// by its own.
type Catalog struct {
	Tools             []Tool
	Prompts           []Prompt
	Resources         []Resource
	ResourceTemplates []ResourceTemplate
	// Options may add what a tool alone cannot say, such as completion or subscriptions. It may be nil. KeepAlive and
	// GetSessionID have no effect, because the transport is ours; nor has PageSize, because lists are sent whole.
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

// capabilities are said on purpose: the SDK would announce logging, and lists that change.
func (c Catalog) capabilities() *mcp.ServerCapabilities {
	capabilities := &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}}
	if len(c.Prompts) > 0 {
		capabilities.Prompts = &mcp.PromptCapabilities{}
	}
	if len(c.Resources)+len(c.ResourceTemplates) > 0 {
		capabilities.Resources = &mcp.ResourceCapabilities{}
	}
	return capabilities
}

// Scopes returns all scopes that something in the catalog needs, each once, in the order of the catalog.
func (c Catalog) Scopes() []string {
	var scopes []string
	add := func(more []string) {
		for _, s := range more {
			if !slices.Contains(scopes, s) {
				scopes = append(scopes, s)
			}
		}
	}
	for _, t := range c.Tools {
		add(t.Scopes)
	}
	for _, p := range c.Prompts {
		add(p.Scopes)
	}
	for _, r := range c.Resources {
		add(r.Scopes)
	}
	for _, t := range c.ResourceTemplates {
		add(t.Scopes)
	}
	return scopes
}

// entries is the length of the longest list.
func (c Catalog) entries() int {
	return max(len(c.Tools), len(c.Prompts), len(c.Resources), len(c.ResourceTemplates))
}

func (c Catalog) register(s *mcp.Server) {
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

// operation is what a request asks for, as far as scopes are concerned: a method, and what it is applied to: the name of a tool or
// prompt, or the URI of a resource. A few methods are applied to more than one.
type operation struct {
	method, name string
	more         []string
}

// Methods whose scopes depend on what they are applied to.
const (
	methodCallTool    = "tools/call"
	methodGetPrompt   = "prompts/get"
	methodRead        = "resources/read"
	methodSubscribe   = "resources/subscribe"
	methodUnsubscribe = "resources/unsubscribe"
	methodListen      = "subscriptions/listen" // which also subscribes to resources
	methodComplete    = "completion/complete"  // which tells what a prompt or a resource could be asked for
)

// Methods that list what the server offers.
const (
	methodListTools     = "tools/list"
	methodListPrompts   = "prompts/list"
	methodListResources = "resources/list"
	methodListTemplates = "resources/templates/list"
)

// scopeTable says which scopes an operation needs beyond those that every call needs. It is the one place that knows; the
// HTTP layer and the guard both ask it.
type scopeTable struct {
	tools, prompts, resources map[string][]string
	templates                 []templateScopes
}

type templateScopes struct {
	template *uritemplate.Template
	scopes   []string
}

func newScopeTable(c Catalog) scopeTable {
	t := scopeTable{tools: map[string][]string{}, prompts: map[string][]string{}, resources: map[string][]string{}}
	for _, tool := range c.Tools {
		t.tools[tool.Name] = tool.Scopes
	}
	for _, p := range c.Prompts {
		t.prompts[p.Prompt.Name] = p.Scopes
	}
	for _, r := range c.Resources {
		t.resources[r.Resource.URI] = r.Scopes
	}
	for _, r := range c.ResourceTemplates {
		t.templates = append(t.templates, templateScopes{uritemplate.MustNew(r.Template.URITemplate), r.Scopes})
	}
	return t
}

// of returns the scopes of an operation. What nobody offers needs none of its own: it will not be found. The list may be the one
// in the table, because this happens for every call, twice: whoever appends to it gets a copy.
func (t scopeTable) of(op operation) []string {
	scopes := t.ofOne(op.method, op.name)
	for _, name := range op.more {
		scopes = append(scopes, t.ofOne(op.method, name)...)
	}
	return scopes
}

func (t scopeTable) ofOne(method, name string) []string {
	if name == "" {
		return nil
	}
	switch method {
	case methodCallTool:
		return slices.Clip(t.tools[name])
	case methodGetPrompt:
		return slices.Clip(t.prompts[name])
	case methodRead, methodSubscribe, methodUnsubscribe, methodListen:
		return t.ofResource(name)
	case methodComplete:
		return slices.Concat(t.prompts[name], t.ofResource(name), t.ofTemplate(name))
	}
	return nil
}

// ofResource joins the scopes of everything that matches: which of several templates the SDK will pick is its business.
func (t scopeTable) ofResource(uri string) []string {
	scopes := slices.Clone(t.resources[uri])
	for _, one := range t.templates {
		if one.template.Regexp().MatchString(uri) {
			scopes = append(scopes, one.scopes...)
		}
	}
	return scopes
}

// offers reports whether there is a resource of this URI, or a template that it may come from.
func (t scopeTable) offers(uri string) bool {
	if _, known := t.resources[uri]; known {
		return true
	}
	return slices.ContainsFunc(t.templates, func(one templateScopes) bool { return one.template.Regexp().MatchString(uri) })
}

// ofTemplate returns the scopes of a template by its text, as it stands in a list.
func (t scopeTable) ofTemplate(text string) []string {
	for _, one := range t.templates {
		if one.template.Raw() == text {
			return one.scopes
		}
	}
	return nil
}
