package configs

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"gatehouse/providers"
	"gatehouse/server"
)

// Load reads all sources and returns a valid configuration, or a [Problems] that says everything that is wrong.
func Load(s Sources) (*Config, error) {
	layers, problems := read(s)
	l := loader{merged: koanf.New("."), origins: map[string]string{}, problems: problems}
	kind, known := l.kind(layers)
	l.defaults(kind)
	for _, one := range layers {
		l.add(one)
	}
	if !known {
		// Without a kind nothing can be said about its settings, but all else can be checked.
		l.check(nil)
		return nil, l.problems
	}
	config := l.check(kind.Defaults())
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	config.Kind = kind.Name
	config.Effective = l.effective()
	config.Notes = notes(config)
	return config, nil
}

type loader struct {
	merged   *koanf.Koanf
	keys     []Key // those that exist for the kind
	origins  map[string]string
	problems Problems
}

// kind finds provider.kind before anything else, because it decides which keys exist.
func (l *loader) kind(layers []layer) (providers.Kind, bool) {
	var name, origin string
	for _, one := range layers {
		if value, ok := one.values[kindKey]; ok {
			name, origin = fmt.Sprint(value), one.origins[kindKey]
		}
	}
	kind, known := providers.KindNamed(name)
	if !known {
		var names []string
		for _, k := range providers.Kinds() {
			names = append(names, k.Name)
		}
		p := Problem{Key: kindKey, Value: quoteValue(name), Origin: origin, Reason: "there is no such kind of provider", WayOut: "use one of " + strings.Join(names, ", ")}
		if name == "" {
			p.Value, p.Reason = "", "nobody said who signs people in"
		}
		if near := nearest(name, names); near != "" {
			p.WayOut = "did you mean " + near + "?"
		}
		l.problems = append(l.problems, p)
	}
	return kind, known
}

func (l *loader) defaults(kind providers.Kind) {
	for _, key := range Keys() {
		if key.Kind == "" || key.Kind == kind.Name {
			l.keys = append(l.keys, key)
			l.put(key.Name, key.Default, "default")
		}
	}
}

// put merges one value. confmap cannot fail, and neither can merging maps.
func (l *loader) put(key string, value any, origin string) {
	_ = l.merged.Load(confmap.Provider(map[string]any{key: value}, "."), nil)
	l.origins[key] = origin
}

// add merges a layer, refusing what no setting is called and what has the wrong type.
func (l *loader) add(one layer) {
	l.problems = append(l.problems, one.readSecrets(l.keys)...)
	for _, name := range one.sortedKeys() {
		value, origin := one.values[name], one.origins[name]
		i := slices.IndexFunc(l.keys, func(k Key) bool { return k.Name == name })
		switch {
		case value == nil:
			l.problems = append(l.problems, Problem{Key: name, Origin: origin, Reason: "it is empty, which would wipe out what is set elsewhere", WayOut: "give it a value, or remove the line"})
		case i < 0:
			l.problems = append(l.problems, l.unknown(name, value, origin))
		default:
			key := l.keys[i]
			converted, wrong := convert(value, key, one.textual)
			if wrong != "" {
				l.problems = append(l.problems, Problem{Key: name, Value: shown(key, value), Origin: origin, Reason: wrong, WayOut: "it is a " + typeName(key.typ) + ": " + key.Help})
				continue
			}
			l.put(name, converted, origin)
		}
	}
}

func (l *loader) unknown(name string, value any, origin string) Problem {
	// The value of a key that nobody knows may be a secret in the wrong place, so it is not shown.
	p := Problem{Key: name, Origin: origin, Reason: "there is no such setting", WayOut: "remove it; `gatehouse serve --help` lists all settings"}
	if _, isMap := value.(map[string]any); isMap {
		p.Reason = "it is empty"
	}
	var candidates []string
	for _, k := range l.keys {
		candidates = append(candidates, k.Name)
		if strings.HasPrefix(k.Name, name+".") {
			p.Reason, p.WayOut = "it is a section, not a setting", "set what is in it, such as "+k.Name
			return p
		}
	}
	for _, k := range Keys() {
		if k.Name == name {
			p.Reason = "it belongs to provider.kind " + k.Kind + ", which is not the kind in force"
			p.WayOut = "remove it, or set provider.kind to " + k.Kind
			return p
		}
	}
	if near := nearest(name, candidates); near != "" {
		p.WayOut = "did you mean " + near + "?"
	}
	return p
}

// check decodes every section and asks its owner whether it can be right.
func (l *loader) check(provider providers.Settings) *Config {
	var (
		top    Top
		config Config
	)
	l.decode("", &top)
	l.decode("server", &config.Server)
	l.decode("mcp", &config.MCP)
	l.decode("tools", &config.Tools)
	l.decode("scopes", &config.Scopes)
	l.decode("log", &config.Log)

	resource, err := providers.ParseResource(top.Resource)
	if err != nil {
		l.report("")("resource", err.Error(), "write the URL that clients will dial, such as https://mcp.example.com/mcp"+didYouMean(top.Resource))
	} else {
		config.Resource = resource
		if server.ReservedPath(resource.Path()) {
			l.report("")("resource", "the server itself answers at "+resource.Path(), "choose another path, such as /mcp")
		}
		l.listenWhereDialled(&config)
	}
	config.Server.Check(l.report("server"))
	config.MCP.Check(l.report("mcp"))
	config.Scopes.Check(l.report("scopes"))
	config.Log.Check(l.report("log"))
	if len(config.Scopes.Initial) == 0 {
		config.Scopes.Initial = config.Scopes.Required
	}
	if provider != nil {
		l.decode("provider", provider)
		if err == nil {
			provider.Check(resource, l.report("provider"))
		}
		config.Provider = provider
	}
	return &config
}

// decode fills target from a section. Every value has its type already, so an error is a mistake in this package, and it
// is reported rather than swallowed.
func (l *loader) decode(section string, target any) {
	err := l.merged.UnmarshalWithConf(section, target, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		TagName: "koanf", Result: target, DecodeHook: mapstructure.TextUnmarshallerHookFunc(),
	}})
	if err != nil {
		l.problems = append(l.problems, Problem{Key: section, Reason: err.Error(), WayOut: "this is a mistake in gatehouse; please report it"})
	}
}

// report returns what an owner calls with a key of its section.
func (l *loader) report(section string) func(key, reason, wayOut string) {
	return func(key, reason, wayOut string) {
		if section != "" {
			key = section + "." + key
		}
		l.problems = append(l.problems, Problem{Key: key, Value: l.value(key), Origin: l.origins[key], Reason: reason, WayOut: wayOut})
	}
}

func (l *loader) value(name string) string {
	for _, k := range l.keys {
		if k.Name == name {
			return shown(k, l.merged.Get(name))
		}
	}
	return ""
}

// shown is a value as people may see it.
func shown(k Key, value any) string {
	if k.IsSecret() {
		if s := fmt.Sprint(value); s == "" {
			return ""
		}
		return "[redacted]"
	}
	return quoteValue(value)
}

func (l *loader) effective() []Value {
	values := make([]Value, 0, len(l.keys))
	for _, k := range l.keys {
		v := Value{Key: k.Name, Value: formatValue(l.merged.Get(k.Name)), Origin: l.origins[k.Name]}
		if k.IsSecret() {
			v.Value = shown(k, l.merged.Get(k.Name))
		}
		values = append(values, v)
	}
	return values
}

// listenWhereDialled lets the port of a resource on this computer decide the port to listen on, unless somebody said
// otherwise: changing one of the two and forgetting the other is a server that nobody reaches.
func (l *loader) listenWhereDialled(config *Config) {
	const key = "server.listen"
	u, err := url.Parse(config.Resource.Origin())
	if err != nil || u.Port() == "" || !config.Resource.IsLoopback() || l.origins[key] != "default" {
		return
	}
	if address := net.JoinHostPort("127.0.0.1", u.Port()); address != config.Server.Listen {
		config.Server.Listen = address
		l.put(key, address, "derived from resource")
	}
}

func notes(c *Config) []string {
	var notes []string
	u, _ := url.Parse(c.Resource.Origin())
	_, port, _ := net.SplitHostPort(c.Server.Listen)
	if c.Resource.IsLoopback() && u.Port() != "" && port != u.Port() {
		notes = append(notes, fmt.Sprintf("clients dial port %s (resource), but the server listens on %s (server.listen): fine only if something forwards the one to the other", u.Port(), port))
	}
	return notes
}

// didYouMean guesses what a URL without its scheme was meant to be.
func didYouMean(s string) string {
	if s == "" || strings.Contains(s, "://") {
		return ""
	}
	host, _, _ := strings.Cut(s, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	scheme := "https://"
	if providers.IsLoopback(host) {
		scheme = "http://"
	}
	if _, err := providers.ParseResource(scheme + s); err != nil {
		return ""
	}
	return "; did you mean " + scheme + s + "?"
}
