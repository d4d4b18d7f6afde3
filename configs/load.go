package configs

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"gatehouse/providers"
	"gatehouse/server"
)

// Load reads all sources and returns a valid configuration, or a [Problems] that says everything that is wrong.
func Load(s Sources) (*Config, error) {
	layers, legacy, problems := read(s)
	l := loader{merged: koanf.New("."), origins: map[string]string{}, problems: problems}
	layers, presetKnown := l.preset(layers)
	kind, kindKnown := l.kind(layers, legacy)
	known := kindKnown && presetKnown
	l.defaults(kind.Name)
	for _, one := range layers {
		if one.onlyFor == "" || one.onlyFor == kind.Name {
			l.add(one, known)
		}
	}
	if !known {
		// Without a kind nothing can be said about its settings, but all else can be checked.
		l.check(nil, s.MemoryLimit)
		return nil, l.problems
	}
	config := l.check(kind.Defaults(), s.MemoryLimit)
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	config.Kind = kind.Name
	config.Effective = l.effective()
	config.Notes = slices.Concat(notes(config), demoNotes(config), legacyNotes(legacy, kind, l.origins), l.presetNotes(layers))
	return config, nil
}

type loader struct {
	merged   *koanf.Koanf
	keys     []Key // those that exist for the kind
	origins  map[string]string
	problems Problems
}

// latest returns the value of key that counts, and the layer that says it.
func latest(layers []layer, key string) (value any, by layer, said bool) {
	for _, one := range layers {
		if v, ok := one.values[key]; ok {
			value, by, said = v, one, true
		}
	}
	return value, by, said
}

// kind finds provider.kind before anything else, because it decides which keys exist.
func (l *loader) kind(layers []layer, legacy map[string]variable) (Kind, bool) {
	value, by, said := latest(layers, kindKey)
	origin := by.origins[kindKey]
	if !said {
		value, origin = "", "default"
	}
	// What hides the kind is reported for itself: an unreadable profile, or a section that is none.
	hidden := slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Key == configKey }) ||
		slices.ContainsFunc(layers, func(one layer) bool { _, noSection := one.values["provider"]; return noSection })
	name, isText := value.(string)
	kind, known := KindNamed(name)
	if p := contradictsKind(legacy, name, origin); known && p != nil {
		l.problems = append(l.problems, *p)
	}
	if known || !isText || name == "" && hidden {
		return kind, known
	}
	p := Problem{Key: kindKey, Value: quoteValue(name), Origin: origin, Reason: "there is no such kind of provider", Fix: "use one of: " + strings.Join(kindNames(), ", ")}
	switch near := nearest(name, append(kindNames(), presetNames()...)); {
	case name == "":
		p.Value, p.Reason = "", "nothing says who signs people in"
	case slices.Contains(presetNames(), near):
		p.Fix = fmt.Sprintf("%s is a preset: set %s to %s and %s to %s", near, by.spell(kindKey), presetKind(), by.spell(presetKey), near)
	case near != "":
		p.Fix = "did you mean " + near + "?"
	}
	l.problems = append(l.problems, p)
	return kind, false
}

func (l *loader) defaults(kind string) {
	defaults := newLayer(false, nil)
	for _, key := range Keys() {
		if key.Kind == "" || key.Kind == kind {
			l.keys = append(l.keys, key)
			defaults.set(key.Name, key.Default, "default")
		}
	}
	l.merge(defaults)
}

// merge lays a layer of converted values over those before it. confmap cannot fail, and neither can merging maps.
func (l *loader) merge(one layer) {
	_ = l.merged.Load(confmap.Provider(one.values, "."), nil)
	maps.Copy(l.origins, one.origins)
}

// derive sets what follows from other settings.
func (l *loader) derive(key string, value any, from string) {
	l.merge(layer{values: map[string]any{key: value}, origins: map[string]string{key: derivedFrom + from}})
}

// add merges a layer, refusing what no setting is called and what has the wrong type.
func (l *loader) add(one layer, kindKnown bool) {
	if !kindKnown {
		maps.DeleteFunc(one.values, func(name string, _ any) bool { return strings.HasPrefix(name, "provider.") && name != kindKey })
	}
	l.problems = append(l.problems, one.problems...)
	l.problems = append(l.problems, one.readSecrets(l.keys)...)
	right := newLayer(false, nil)
	for _, name := range one.sortedKeys() {
		value, origin := one.values[name], one.origins[name]
		i := slices.IndexFunc(l.keys, func(k Key) bool { return k.Name == name })
		if i < 0 {
			l.problems = append(l.problems, l.unknown(name, one))
			continue
		}
		key := l.keys[i]
		if value == nil {
			l.problems = append(l.problems, Problem{Key: name, Origin: origin, Reason: "it is empty, which would wipe out what is set elsewhere", Fix: "give it a value, or remove the line"})
			continue
		}
		converted, wrong := convert(value, key, one.textual)
		if wrong != nil {
			l.problems = append(l.problems, Problem{Key: name, Value: shown(key, value), Origin: origin, Reason: wrong.reason, Fix: wrong.fix + " (" + key.Help + ")"})
			continue
		}
		right.set(name, converted, origin)
	}
	l.merge(right)
}

// unknown says why nothing is called name. The value of a key that nobody knows may be a secret in the wrong place, so it
// is not shown.
func (l *loader) unknown(name string, one layer) Problem {
	p := Problem{Key: keyText(name), Origin: one.origins[name], Reason: "there is no such setting", Fix: "remove it; `gatehouse serve --help` lists all settings"}
	var candidates, kinds []string
	for _, k := range l.keys {
		candidates = append(candidates, k.Name)
		if k.IsSecret() {
			candidates = append(candidates, k.Name+fileSuffix)
		}
		switch {
		case strings.HasPrefix(k.Name, name+"."):
			p.Reason, p.Fix = "it is a section, not a setting", "set what is in it, such as "+one.spell(k.Name)
			if one.values[name] == nil {
				p.Reason, p.Fix = "the section is empty", "set something in it, such as "+one.spell(k.Name)+", or remove the line"
			}
			return p
		case strings.HasPrefix(name, k.Name+"."):
			p.Reason, p.Fix = k.Name+" is a setting, not a section", "give "+one.spell(k.Name)+" one value ("+k.Help+")"
			return p
		}
	}
	for _, k := range Keys() {
		if k.Kind != "" && (name == k.Name || k.IsSecret() && name == k.Name+fileSuffix) {
			kinds = append(kinds, k.Kind)
		}
	}
	if len(kinds) > 0 {
		p.Reason = "it belongs to provider.kind " + strings.Join(kinds, " and ") + ", which is not the kind in force"
		p.Fix = "remove it, or set " + one.spell(kindKey) + " to " + kinds[0]
		return p
	}
	if near := nearest(name, candidates); near != "" {
		p.Fix = "did you mean " + one.spell(near) + "?"
	}
	return p
}

// check decodes every section and asks its owner whether it can be right.
func (l *loader) check(provider providers.Settings, memoryLimit int64) *Config {
	var (
		top    Top
		config Config
	)
	if deriver, ok := provider.(providers.Deriver); ok {
		l.decode("provider", provider)
		deriver.Derive(func(key, value, from string) {
			if l.origins[key] == "default" {
				l.derive(key, value, from)
			}
		})
	}
	l.decode("", &top)
	l.decode("server", &config.Server)
	l.decode("mcp", &config.MCP)
	l.decode("tools", &config.Tools)
	l.decode("scopes", &config.Scopes)
	l.decode("log", &config.Log)

	resource, err := providers.ParseResource(top.Resource)
	if err != nil {
		l.report("")("resource", err.Error(), resourceWayOut(top.Resource))
	} else {
		config.Resource = resource
		if server.ReservedPath(resource.Path()) {
			l.report("")("resource", "the server itself answers at "+resource.Path(), "choose another path: "+resource.Origin()+"/mcp")
		}
		l.listenWhereDialled(&config)
	}
	l.byteLimits(&config, memoryLimit)
	config.Server.Check(l.report("server"))
	config.MCP.Validate(l.report("mcp"))
	config.Scopes.Check(l.report("scopes"))
	config.Log.Check(l.report("log"))
	if len(config.Scopes.Initial) == 0 && len(config.Scopes.Required) > 0 {
		config.Scopes.Initial = slices.Clone(config.Scopes.Required)
		l.derive("scopes.initial", config.Scopes.Initial, "scopes.required")
	}
	if provider != nil {
		l.decode("provider", provider)
		if err != nil {
			// The rest is held against what was probably meant, so that everything that is wrong is told at once.
			resource, err = providers.ParseResource(meantResource(top.Resource))
		}
		if err == nil {
			provider.Validate(resource, l.report("provider"))
		}
		l.checkListen(provider, config.Server.Listen)
		config.Provider = provider
	}
	return &config
}

// byteLimits derives the limits of bytes that are not set, and refuses bodies that no caller could send within them.
func (l *loader) byteLimits(config *Config, memoryLimit int64) {
	const all, perUser = "mcp.max_bytes", "mcp.max_bytes_per_user"
	set := config.MCP
	config.MCP = set.WithByteLimits(memoryLimit)
	switch {
	case set.MaxBytes != 0:
	case memoryLimit > 0:
		l.derive(all, config.MCP.MaxBytes, "the memory limit of the process")
	default:
		l.merge(layer{values: map[string]any{all: config.MCP.MaxBytes}, origins: map[string]string{all: "default"}})
	}
	if set.MaxBytesPerUser == 0 {
		l.derive(perUser, config.MCP.MaxBytesPerUser, all)
	}
	most, bodies := config.MCP.MaxBytesPerUser, "server.max_body_bytes"
	if config.Server.MaxBodyBytes > most && most > 0 && l.origins[bodies] == "default" {
		config.Server.MaxBodyBytes = most // a small container
		l.derive(bodies, most, perUser)
	}
	if most > 0 && config.Server.MaxBodyBytes > most {
		l.report("server")("max_body_bytes", fmt.Sprintf("it is more than %s, which is %d: such a body would be refused", perUser, most),
			fmt.Sprintf("use at most %d, or raise %s", most, perUser))
	}
}

// checkListen asks the provider whether it goes with the address. An address that cannot be read is reported already.
func (l *loader) checkListen(provider providers.Settings, address string) {
	checker, ok := provider.(providers.ListenChecker)
	host, _, err := net.SplitHostPort(address)
	if !ok || err != nil {
		return
	}
	checker.CheckListen(host, func(reason, fix string) { l.report("server")("listen", reason, fix) })
}

// decode fills target from a section. Every value has its type already, so an error is a mistake in this package, and it
// is reported rather than swallowed.
func (l *loader) decode(section string, target any) {
	err := l.merged.UnmarshalWithConf(section, target, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		TagName: "koanf", Result: target, DecodeHook: mapstructure.TextUnmarshallerHookFunc(),
	}})
	if err != nil {
		l.problems = append(l.problems, Problem{Key: cmp.Or(section, "resource"), Reason: err.Error(), Fix: "this is a mistake in gatehouse; please report it"})
	}
}

// report returns what an owner calls with a key of its section.
func (l *loader) report(section string) func(key, reason, fix string) {
	return func(key, reason, fix string) {
		if section != "" {
			key = section + "." + key
		}
		p := Problem{Key: key, Origin: l.origins[key], Reason: reason, Fix: fix}
		if i := slices.IndexFunc(l.keys, func(k Key) bool { return k.Name == key }); i >= 0 {
			value := l.merged.Get(key)
			p.Value = shown(l.keys[i], value)
			if list, isList := value.([]string); isList {
				// Owners quote the entry that is wrong.
				for _, item := range list {
					p.Reason = strings.ReplaceAll(p.Reason, strconv.Quote(item), quoteValue(item))
				}
			}
		}
		l.problems = append(l.problems, p)
	}
}

// shown is a value as people may see it.
func shown(k Key, value any) string {
	if !k.IsSecret() {
		return quoteValue(value)
	}
	if fmt.Sprint(value) == "" {
		return ""
	}
	return redacted
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

// listenWhereDialled lets a resource on this computer decide the address to listen on, unless somebody said otherwise:
// changing one of the two and forgetting the other is a server that nobody reaches. Behind https something else listens
// where clients dial, because this server speaks plain http.
func (l *loader) listenWhereDialled(config *Config) {
	const key = "server.listen"
	u, _ := url.Parse(config.Resource.Origin()) // it was parsed before
	if u.Scheme != "http" || u.Port() == "" || l.origins[key] != "default" {
		return
	}
	host := u.Hostname()
	if net.ParseIP(host) == nil { // localhost
		host = "127.0.0.1"
	}
	if address := net.JoinHostPort(host, u.Port()); address != config.Server.Listen {
		config.Server.Listen = address
		l.derive(key, address, "resource")
	}
}

func notes(c *Config) []string {
	var notes []string
	u, _ := url.Parse(c.Resource.Origin())
	dialled := cmp.Or(u.Port(), defaultPort(u))
	_, port, _ := net.SplitHostPort(c.Server.Listen)
	if c.Resource.IsLoopback() && port != dialled {
		notes = append(notes, fmt.Sprintf("clients dial port %s (resource), but the server listens on %s (server.listen): fine only if something forwards the one to the other", dialled, port))
	}
	return notes
}

// demoNotes names what a server that others reach has of the built-in demo, because no profile was named. That takes
// kind local and provider.dangerously_allow_public_resource: the built-in profile counts for no other kind.
func demoNotes(c *Config) []string {
	var keys []string
	for _, v := range c.Effective {
		isOfProvider := strings.HasPrefix(v.Key, "provider.") // these have guardrails and notes of their own
		if !isOfProvider && v.Key != "resource" && v.Origin == builtInProfile+defaultProfile {
			keys = append(keys, v.Key+" ("+v.Value+")")
		}
	}
	if len(keys) == 0 || c.Resource.IsLoopback() {
		return nil
	}
	return []string{"made for the demo are " + strings.Join(keys, ", ") + ": set them for a server that others reach, or name a profile of your own (--config)"}
}

func defaultPort(u *url.URL) string {
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// resourceWayOut tells how the resource is to be spelled, with the URL that was meant if that can be guessed.
func resourceWayOut(s string) string {
	if meant := meantResource(s); meant != "" {
		return "did you mean " + meant + "?"
	}
	return "write the URL that clients will dial, such as https://mcp.example.com/mcp"
}

// meantResource adds a scheme, or takes away what a resource has no place for. It returns "" if that does not help.
func meantResource(s string) string {
	if s != "" && !strings.Contains(s, "://") {
		s = "https://" + s
		if u, err := url.Parse(s); err == nil && providers.IsLoopback(u.Hostname()) {
			u.Scheme = "http"
			s = u.String()
		}
	}
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	u.User, u.RawPath, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", "", false, "", ""
	u = u.JoinPath() // without dots and doubled slashes
	if port := defaultPort(u); u.Port() == port {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	if u.Scheme == "http" && !providers.IsLoopback(u.Hostname()) {
		u.Scheme = "https"
	}
	meant, err := providers.ParseResource(u.String())
	if err != nil {
		return ""
	}
	return meant.String()
}
