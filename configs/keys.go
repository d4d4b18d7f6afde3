package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gatehouse/mcptools"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/server"
	"gatehouse/server/audit"
	"gatehouse/server/denials"
)

// Key is one setting.
type Key struct {
	// Name is the full name, such as server.listen.
	Name string
	// Help is one line for --help and the documentation.
	Help string
	// Default is the value if no source sets one.
	Default any
	// Values are the values of a setting that takes one of several names; nil for every other setting.
	Values []string
	// Reload says when a change of the value in a file applies.
	Reload ReloadClass
	// Loosens says which changes of the value allow more than before.
	Loosens Loosening
	// Kind is the provider kind that the key belongs to; empty for keys that always exist.
	Kind string
	// IsFile reports whether the value is the name of a file whose content is the secret.
	IsFile bool

	typ reflect.Type
}

// IsSecret reports whether the value must never be shown.
func (k Key) IsSecret() bool { return k.typ == reflect.TypeFor[providers.Secret]() }

// IsTemplate reports whether the key is that of a section which exists once for each name: upstreams.NAME.url.
func (k Key) IsTemplate() bool { return strings.HasPrefix(k.Name, upstreamPrefix+AnyName+".") }

// hasFlag reports whether the setting has a flag. Secrets have none, because a command line is visible to every user of
// the computer; the name of a file is no secret.
func (k Key) hasFlag() bool { return !k.IsSecret() || k.IsFile }

// DefaultText is Default as it is written in the environment or as a flag.
func (k Key) DefaultText() string { return formatValue(k.Default) }

// section is a part of the configuration whose settings live with the code they configure.
type section struct {
	name     string
	settings any
}

func sections() []section {
	return []section{
		{"", Top{Resource: "http://localhost:3002/mcp"}},
		{"server", server.DefaultSettings()},
		{"mcp", mcphttp.DefaultSettings()},
		{"tools", mcptools.ToolSettings{}},
		{upstreamsSection, upstream.KeySettings{}},
		{"scopes", Scopes{Required: []string{}, Initial: []string{}, Implies: []string{}, Descriptions: []string{}}},
		{"log", Log{Level: "info", Format: "text"}},
		{"audit", audit.DefaultSettings()},
		{"denials", denials.DefaultSettings()},
		{"telemetry", Telemetry{Metrics: TelemetryOff, Traces: TelemetryOff, Sample: 1}},
		{"operator", Operator{Hosts: []string{}}},
		{"reload", Reload{}},
	}
}

// Keys returns all settings: those that always exist, then those of each kind of provider, in [Kinds] or extra. The
// sections of upstreams are there once, with [AnyName].
func Keys(extra ...Kind) []Key { return kindTable(slices.Concat(Kinds(), extra)).keys(AnyName) }

// keys returns all settings, with those of the upstreams that have these names.
func (t kindTable) keys(upstreams ...string) []Key {
	var keys []Key
	for _, s := range sections() {
		keys = append(keys, keysOf(s.name, s.settings, "")...)
		if s.name == upstreamsSection {
			for _, name := range upstreams {
				keys = append(keys, upstreamKeys(name)...)
			}
		}
	}
	keys = append(keys, Key{Name: kindKey, Help: "kind of identity provider: " + strings.Join(t.names(), ", "),
		Default: "", Values: t.names(), Reload: ReloadLive, Loosens: LoosenedByAny, typ: reflect.TypeFor[string]()})
	for _, k := range t {
		keys = append(keys, keysOf("provider", k.Defaults(), k.Name)...)
	}
	for i, k := range keys {
		if k.Name == presetKey {
			kind, _ := t.named(k.Kind)
			keys[i].Values = kind.presetNames() // which the package of the kind does not know
			keys[i].Help += "; one of " + strings.Join(keys[i].Values, ", ")
		}
	}
	return keys
}

// keysOf reads the settings of a section from the tags of its struct.
func keysOf(section string, settings any, kind string) []Key {
	v := reflect.Indirect(reflect.ValueOf(settings))
	var keys []Key
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := field.Tag.Get("koanf")
		if name == "" {
			continue
		}
		if section != "" {
			name = section + "." + name
		}
		key := Key{Name: name, Help: field.Tag.Get("help"), Default: plainList(v.Field(i)), Kind: kind, typ: field.Type,
			IsFile: field.Tag.Get("file") == "only",
			Reload: ReloadClass(field.Tag.Get("reload")), Loosens: Loosening(field.Tag.Get("loosens"))}
		if kind != "" && !key.IsSecret() {
			key.Loosens = LoosenedByAny // which tokens are accepted depends on all of them together
		}
		if values := field.Tag.Get("values"); values != "" {
			key.Values = strings.Split(values, ",")
		}
		keys = append(keys, key)
	}
	return keys
}

// plainList returns the value of a setting; a list of any type as []string.
func plainList(v reflect.Value) any {
	if list := reflect.TypeFor[[]string](); v.CanConvert(list) {
		return v.Convert(list).Interface()
	}
	return v.Interface()
}

func formatValue(v any) string {
	switch v := v.(type) {
	case []string:
		return strings.Join(v, ",")
	case time.Duration:
		return shortDuration(v)
	default:
		return fmt.Sprint(v)
	}
}

// shortDuration writes 10m instead of 10m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
