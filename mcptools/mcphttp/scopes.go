package mcphttp

import (
	"slices"

	"github.com/yosida95/uritemplate/v3"

	"gatehouse/mcptools"
)

// operation is what a request does, as far as scopes are concerned: a method and its target, which is the name of a
// tool or prompt, or the URI of a resource. A few methods have more than one target.
type operation struct {
	method, name string
	more         []string
}

// Methods whose scopes depend on their target.
const (
	methodCallTool    = "tools/call"
	methodGetPrompt   = "prompts/get"
	methodRead        = "resources/read"
	methodSubscribe   = "resources/subscribe"
	methodUnsubscribe = "resources/unsubscribe"
	methodListen      = "subscriptions/listen" // also subscribes to resources
	methodComplete    = "completion/complete"  // reveals arguments of a prompt or a resource
)

// Methods that list what the server offers.
const (
	methodListTools     = "tools/list"
	methodListPrompts   = "prompts/list"
	methodListResources = "resources/list"
	methodListTemplates = "resources/templates/list"
)

// scopeTable maps operations to the scopes that they need in addition to those that every call needs. Both checks
// use it: [Handler.Route] before dispatch, and the middleware on what is dispatched.
type scopeTable struct {
	tools, prompts, resources map[string][]string
	templates                 []templateScopes
}

type templateScopes struct {
	template *uritemplate.Template
	scopes   []string
}

func newScopeTable(c mcptools.Catalog) scopeTable {
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

// of returns the scopes of an operation. Unknown names need no extra scopes; dispatch will reject them. The
// result may share memory with the table, because it is computed twice for every call; its capacity is
// clipped, so that appending to it makes a copy.
func (t scopeTable) of(op operation) []string {
	scopes := t.ofTarget(op.method, op.name)
	for _, name := range op.more {
		scopes = append(scopes, t.ofTarget(op.method, name)...)
	}
	return scopes
}

func (t scopeTable) ofTarget(method, name string) []string {
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

// ofResource returns the scopes of everything that matches uri, because the SDK decides which of several templates
// it uses.
func (t scopeTable) ofResource(uri string) []string {
	scopes := slices.Clone(t.resources[uri])
	for _, one := range t.templates {
		if one.template.Regexp().MatchString(uri) {
			scopes = append(scopes, one.scopes...)
		}
	}
	return scopes
}

// offers reports whether uri is a resource of the catalog or matches one of its templates.
func (t scopeTable) offers(uri string) bool { return t.nameOf(uri) != "" }

// nameOf returns uri if it is a resource of the catalog, the first template that matches it, or "".
func (t scopeTable) nameOf(uri string) string {
	if _, known := t.resources[uri]; known {
		return uri
	}
	for _, one := range t.templates {
		if one.template.Regexp().MatchString(uri) {
			return one.template.Raw()
		}
	}
	return ""
}

// ofTemplate returns the scopes of a template by its text, as lists show it.
func (t scopeTable) ofTemplate(text string) []string {
	for _, one := range t.templates {
		if one.template.Raw() == text {
			return one.scopes
		}
	}
	return nil
}
