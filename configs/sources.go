package configs

import (
	"errors"
	"io/fs"
	"maps"
	"slices"

	"gatehouse/providers"
)

// configKey names the profile: the flag --config, or the variable GATEHOUSE_CONFIG. It is not a setting.
const configKey = "config"

// Sources are the places that Load reads. Later ones win: defaults, preset, profile, .env, environment,
// flags.
type Sources struct {
	// Profile is the path of a profile. If it is empty, GATEHOUSE_CONFIG names the profile; without that, it is
	// the built-in local.yaml.
	Profile string
	// Dir is the folder of .env; empty means that no .env is read.
	Dir string
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// Flags are the flags that were set, by the name of their key.
	Flags map[string]string
	// Run is an upstream to serve without a file; nil for none. Its defaults are in place of the built-in profile.
	Run *Run
	// ExtraKinds are kinds of provider of other modules, in addition to [Kinds].
	ExtraKinds []Kind
	// KnownScopes returns the scopes that the operations of a server with these settings need, tools included, so that
	// scopes that no operation needs are reported; nil means that they are not known.
	KnownScopes func(*Config) []string
	// MemoryLimit is how much memory the process may use, in bytes; 0 means no limit.
	MemoryLimit int64
	// IgnorePins leaves the files with the pins of upstreams alone: they may not exist yet.
	IgnorePins bool
	// ReadFile reads the profile, .env, and files with secrets, certificates and pins; nil means os.ReadFile.
	ReadFile func(name string) ([]byte, error)
}

type readFileFunc func(name string) ([]byte, error)

// configFile is what the profile or .env sets.
type configFile struct {
	// key and origin name it in reports.
	key, origin string
	// settings is the number of its settings for the kind in force.
	settings int
	// namesKind is true if provider.kind or provider.preset is among them.
	namesKind bool
}

// addFile notes what a file sets that is read as these layers.
func (l *loader) addFile(key, origin string, layers ...layer) {
	l.files = append(l.files, func(kind string) configFile {
		f := configFile{key: key, origin: origin}
		for _, one := range layers {
			if one.onlyFor != "" && one.onlyFor != kind {
				continue
			}
			f.settings += len(one.values)
			for _, name := range []string{kindKey, presetKey} {
				_, isSet := one.values[name]
				f.namesKind = f.namesKind || isSet
			}
		}
		return f
	})
}

// layer is one source: values by key, and the origin of each as text.
type layer struct {
	values  map[string]any
	origins map[string]string
	// textual is true if every value is text, so that lists and numbers are parsed from it.
	textual bool
	// spell returns how a key is written in this source.
	spell func(key string) string
	// onlyFor is the kind of provider that the layer applies to; empty for any.
	onlyFor string
	// implicit is true if the layer does not choose a kind of provider explicitly.
	implicit bool
	// paths are the files that secrets were read from, by the key of the secret.
	paths map[string]string
	// legacyNames are the variables that the layer is read from; nil for other layers.
	legacyNames []LegacyName
}

func newLayer(textual bool, spell func(key string) string) layer {
	return layer{values: map[string]any{}, origins: map[string]string{}, paths: map[string]string{}, textual: textual,
		spell: spell}
}

func (l layer) set(key string, value any, origin string) {
	l.values[key], l.origins[key] = value, origin
}

// sortedKeys gives reports a stable order.
func (l layer) sortedKeys() []string { return slices.Sorted(maps.Keys(l.values)) }

// variable is an environment variable, and where it is set.
type variable struct{ name, value, origin string }

// collect reads all sources but the defaults and the preset: layers, later ones win, and the variables of
// .env and the environment, in this order. It reports what cannot be read.
func (l *loader) collect(s Sources) ([]layer, []variable) {
	fromFile, problems := l.dotEnvVariables(s.Dir)
	fromEnvironment := environVariables(s.Environ)
	l.problems = slices.Concat(l.problems, problems, rejectMCPGODEBUG(fromEnvironment))

	dot, environment, flags := envLayer(fromFile), envLayer(fromEnvironment), flagLayer(s.Flags)
	path, origin := s.Profile, "flag --"+configKey
	for _, one := range []layer{environment, dot} {
		if value, ok := one.values[configKey].(string); ok && path == "" {
			path, origin = value, one.origins[configKey]
		}
		delete(one.values, configKey)
	}
	var layers []layer
	if s.Run != nil {
		layers = s.Run.defaults()
	}
	var profile layer
	if s.Run == nil || path != "" { // otherwise the built-in profile would apply
		profile, problems = l.profileLayer(path, origin)
		layers = append(layers, profile)
	}
	if path != "" {
		l.addFile(configKey, "profile "+path, profile)
	}
	l.addFile(dotEnv, "working directory", append(l.kinds.legacyLayers(fromFile), dot)...)
	l.problems = append(l.problems, problems...)

	variables := slices.Concat(fromFile, fromEnvironment)
	l.problems = append(l.problems, l.misspelledPrefixes(variables)...)
	layers = slices.Concat(append(layers, dot), l.kinds.legacyLayers(variables), []layer{environment, flags})
	if s.Run != nil {
		layers = append(layers, s.Run.target())
	}
	return layers, variables
}

func flagLayer(flags map[string]string) layer {
	l := newLayer(true, func(key string) string { return "--" + key })
	for name, value := range flags {
		l.set(name, value, "flag "+l.spell(name))
	}
	return l
}

// fileReason says why the file at path cannot be read, and what is stray in the path.
func fileReason(path string, err error) string {
	if _, stray := providers.TrimStray(path); stray != "" {
		return reasonOf(err) + "; " + stray
	}
	return reasonOf(err)
}

// reasonOf strips the path that the os package puts in front of its errors.
func reasonOf(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
