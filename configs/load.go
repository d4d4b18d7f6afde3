package configs

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"gatehouse/providers"
)

// Load reads all sources and returns a valid configuration. Its error is a [Problems] with everything that is
// wrong.
func Load(s Sources) (*Config, error) {
	l := loader{
		kinds: slices.Concat(Kinds(), s.ExtraKinds), merged: koanf.New("."), origins: map[string]string{},
		paths: map[string]string{}, readFile: s.ReadFile, knownScopes: s.KnownScopes,
	}
	if l.readFile == nil {
		l.readFile = os.ReadFile
	}
	l.allKeys = l.kinds.keys()
	l.problems = l.kinds.duplicates()
	layers, variables := l.collect(s)
	l.nameUpstreams(layers)
	for _, one := range layers {
		if one.onlyFor == "" { // the others may belong to other programs
			l.clean(one)
		}
	}
	layers, kind := l.chooseKind(layers)
	l.merge(layers, kind)
	l.reportOtherUnknowns()
	l.derive(kind, variables, s.MemoryLimit)
	config := l.decode(kind)
	if !s.IgnorePins {
		l.readPins(config)
	}
	l.validate(config, kind, variables)
	if s.Run != nil {
		l.validateRun(config)
	}
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	l.annotate(config, layers, variables)
	return config, nil
}

// loader is the state that the stages of Load share.
type loader struct {
	kinds     kindTable
	upstreams []string          // the names of the upstreams, sorted
	allKeys   []Key             // those of all kinds and upstreams
	merged    *koanf.Koanf      // the effective values by key
	origins   map[string]string // the origin of each of them
	paths     map[string]string // the files that secrets were read from
	keys      []Key             // the keys that exist for the kind
	files     []func(kind string) configFile
	readFile  readFileFunc

	knownScopes func(*Config) []string // nil if they are not known
	problems    Problems
	unknowns    int // settings that do not exist
}

// maxUnknown is how many settings that do not exist are reported one by one. Each is compared with all names that
// exist, and a file of another program has thousands.
const maxUnknown = 50

func (l *loader) addProblem(p Problem) { l.problems = append(l.problems, p) }

// overlay replaces the values of earlier layers by those of one, which are converted already. Neither confmap
// nor a merge of maps returns an error.
func (l *loader) overlay(one layer) {
	_ = l.merged.Load(confmap.Provider(one.values, "."), nil)
	maps.Copy(l.origins, one.origins)
	for key := range one.values {
		delete(l.paths, key)
	}
	maps.Copy(l.paths, one.paths)
}

// set sets one value.
func (l *loader) set(key string, value any, origin string) {
	l.overlay(layer{values: map[string]any{key: value}, origins: map[string]string{key: origin}})
}

// isDefault reports whether no layer sets key.
func (l *loader) isDefault(key string) bool { return l.origins[key] == defaultOrigin }

// merge converts the values of each layer to the types of their keys; later layers win. Without a kind it is
// unknown which keys of the provider exist, so they are left out.
func (l *loader) merge(layers []layer, kind Kind) {
	defaults := newLayer(false, nil)
	for _, key := range l.allKeys {
		if key.Kind == "" || key.Kind == kind.Name {
			l.keys = append(l.keys, key)
			defaults.set(key.Name, key.Default, defaultOrigin)
		}
	}
	l.overlay(defaults)
	for _, one := range layers {
		if one.onlyFor != "" && one.onlyFor != kind.Name {
			continue
		}
		if kind.Name == "" {
			maps.DeleteFunc(one.values, func(name string, _ any) bool {
				return strings.HasPrefix(name, providerPrefix) && name != kindKey
			})
		}
		if one.onlyFor != "" {
			l.clean(one)
		}
		l.overlay(l.convert(one))
	}
}

// convert returns one with its values converted, and reports unknown keys and values of another type.
func (l *loader) convert(one layer) layer {
	l.problems = append(l.problems, one.readSecrets(l.keys, l.readFile)...)
	converted := newLayer(false, nil)
	converted.paths = one.paths
	for _, name := range one.sortedKeys() {
		value, origin := one.values[name], one.origins[name]
		i := slices.IndexFunc(l.keys, func(k Key) bool { return k.Name == name })
		if i < 0 {
			if l.unknowns++; l.unknowns <= maxUnknown {
				l.addProblem(l.unknown(name, one))
			}
			continue
		}
		key := l.keys[i]
		if value == nil {
			l.addProblem(Problem{Key: name, Origin: origin, Code: providers.CodeMissing,
				Reason: "it is empty, which would remove the value that is set elsewhere",
				Fix:    "give it a value, or remove the line"})
			continue
		}
		typed, wrong := convert(value, key, one.textual)
		if wrong != nil {
			l.addProblem(Problem{Key: name, Value: display(key, value), Origin: origin,
				Code: providers.CodeInvalidType, Reason: wrong.reason, Fix: wrong.fix + " (" + key.Help + ")"})
			continue
		}
		if list, isList := typed.([]string); isList && key.asListType(list) == nil {
			typed = l.cleanList(key, list, origin)
		}
		converted.set(name, typed, origin)
	}
	return converted
}

// reportOtherUnknowns reports how many settings do not exist besides those that were reported.
func (l *loader) reportOtherUnknowns() {
	if n := l.unknowns - maxUnknown; n > 0 {
		l.addProblem(Problem{Key: configKey, Origin: "all sources", Code: providers.CodeUnknownKey,
			Reason: fmt.Sprintf("there are %d more settings that do not exist", n),
			Fix:    "this is probably the file of another program; configs/" + builtInName + " is an example"})
	}
}

// unknown describes a key that does not exist. The value is not shown: it may be a secret under the wrong
// key.
func (l *loader) unknown(name string, one layer) Problem {
	p := Problem{Key: keyText(name), Origin: one.origins[name], Code: providers.CodeUnknownKey,
		Reason: "there is no such setting", Fix: "remove it; `gatehouse serve --help` lists all settings"}
	for _, k := range l.keys {
		switch {
		case strings.HasPrefix(k.Name, name+".") && one.values[name] == nil:
			p.Code, p.Reason = providers.CodeMissing, "the section is empty"
			p.Fix = "set something in it, such as " + one.spell(k.Name) + ", or remove the line"
			return p
		case strings.HasPrefix(k.Name, name+"."):
			p.Code, p.Reason = providers.CodeInvalidType, "it is a section, not a setting"
			p.Fix = "set what is in it, such as " + one.spell(k.Name)
			return p
		case strings.HasPrefix(name, k.Name+"."):
			p.Code, p.Reason = providers.CodeInvalidType, k.Name+" is a setting, not a section"
			p.Fix = "give " + one.spell(k.Name) + " one value (" + k.Help + ")"
			return p
		}
	}
	if l.isUpstreamName(name) {
		p.Code, p.Reason = providers.CodeInvalidType, "it is the name of an upstream, not a setting"
		if one.values[name] == nil {
			p.Code, p.Reason = providers.CodeMissing, "the section is empty"
		}
		p.Fix = "set what is in it, such as " + one.spell(name+".url") + ", or remove it"
		return p
	}
	if kinds := l.kinds.withKey(name); len(kinds) > 0 {
		p.Code = providers.CodeWrongKind
		p.Reason = "it belongs to provider.kind " + strings.Join(kinds, " and ") +
			", which is not the kind in force"
		p.Fix = "remove it, or set " + one.spell(kindKey) + " to " + kinds[0]
		return p
	}
	if near := Nearest(name, l.candidates(name)); near != "" {
		p.Fix = "did you mean " + one.spell(near) + "?"
		inForce := func(k Key) bool { return k.Name == strings.TrimSuffix(near, fileSuffix) }
		if kinds := l.kinds.withKey(near); len(kinds) > 0 && !slices.ContainsFunc(l.keys, inForce) {
			p.Fix += " It belongs to provider.kind " + strings.Join(kinds, " and ")
		}
	}
	return p
}

// candidates returns the names that the setting can have that was written as name: first those of the kind in force.
func (l *loader) candidates(name string) []string {
	var names []string
	for _, k := range slices.Concat(l.keys, l.allKeys, meantUpstreamKeys(name)) {
		names = append(names, k.Name)
		if k.IsSecret() && !k.IsFile {
			names = append(names, k.Name+fileSuffix)
		}
	}
	return append(names, configKey)
}

// withKey returns the names of the kinds that have a setting of that name.
func (t kindTable) withKey(name string) []string {
	var kinds []string
	for _, k := range t.keys() { // those of upstreams belong to no kind
		if k.Kind != "" && (name == k.Name || k.IsSecret() && name == k.Name+fileSuffix) {
			kinds = append(kinds, k.Kind)
		}
	}
	return kinds
}

// decode fills the settings of each section from the merged values. Without a kind there are no provider
// settings.
func (l *loader) decode(kind Kind) *Config {
	config := &Config{Kind: kind.Name, keys: l.keys, paths: l.paths}
	for _, file := range l.files {
		config.files = append(config.files, file(kind.Name))
	}
	if kind.Defaults != nil {
		config.Provider = kind.Defaults()
	}
	config.Upstreams = l.defaultUpstreams()
	for _, s := range config.sections() {
		l.decodeSection(s.name, s.settings)
	}
	return config
}

// decodeSection fills target from a section. The values have the types of their keys, so an error is a defect
// of this package.
func (l *loader) decodeSection(section string, target any) {
	decoder := &mapstructure.DecoderConfig{
		TagName: "koanf", Result: target, DecodeHook: mapstructure.TextUnmarshallerHookFunc(),
	}
	err := l.merged.UnmarshalWithConf(section, target, koanf.UnmarshalConf{DecoderConfig: decoder})
	if err != nil {
		l.addProblem(Problem{Key: section, Origin: defaultOrigin, Code: providers.CodeInternal,
			Reason: err.Error(), Fix: "this is a defect of gatehouse; please report it"})
	}
}

// isRejected reports whether a setting has no value because the only one was rejected for its type, or because its file
// cannot be read.
func (l *loader) isRejected(key string) bool {
	return l.isDefault(key) && slices.ContainsFunc(l.problems, func(p Problem) bool {
		return (p.Key == key || p.Key == key+fileSuffix) &&
			(p.Code == providers.CodeInvalidType || p.Code == providers.CodeUnreadableFile)
	})
}

// report returns the function with which a section reports its problems, and adds origin and value to them.
func (l *loader) report(section string) func(providers.Problem) {
	return func(found providers.Problem) {
		key := found.Key
		if section != "" {
			key = section + "." + key
		}
		if found.Code == providers.CodeMissing && l.isRejected(key) {
			return // it is reported already
		}
		p := Problem{Key: key, Origin: l.origins[key], Code: found.Code, Reason: found.Reason, Fix: found.Fix}
		if i := slices.IndexFunc(l.keys, func(k Key) bool { return k.Name == key }); i >= 0 {
			value := l.merged.Get(key)
			p.Value = display(l.keys[i], value)
			if list, isList := value.([]string); isList {
				// The reason quotes the invalid entry, which may be a URL with a secret.
				for _, item := range list {
					if words := strings.Fields(item); len(words) > 1 && key != impliesKey &&
						!strings.ContainsAny(item, `"'`) && strings.Contains(p.Reason, strconv.Quote(item)) {
						p.Fix = "write several entries with commas between them: " + showValue(strings.Join(words, ","))
					}
					p.Reason = strings.ReplaceAll(p.Reason, strconv.Quote(item), quoteValue(item))
				}
			}
		}
		l.addProblem(p)
	}
}

// display returns a value as reports show it.
func display(k Key, value any) string {
	if k.asListType(nil) != nil {
		return truncate(k.showList(value))
	}
	if !k.IsSecret() {
		return quoteValue(value)
	}
	if fmt.Sprint(value) == "" {
		return ""
	}
	return redacted
}
