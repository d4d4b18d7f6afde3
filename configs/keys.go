package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gatehouse/mcptools"
	"gatehouse/mcptools/mcphttp"
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
	// Kind is the provider kind that the key belongs to; empty for keys that always exist.
	Kind string

	typ reflect.Type
}

// IsSecret reports whether the value must never be shown.
func (k Key) IsSecret() bool { return k.typ == reflect.TypeFor[providers.Secret]() }

// DefaultText is Default as it is written in the environment or as a flag.
func (k Key) DefaultText() string { return formatValue(k.Default) }

// section is a part of the configuration whose settings live with the code they configure.
type section struct {
	name     string
	defaults any
}

func sections() []section {
	return []section{
		{"", Top{Resource: "http://localhost:3002/mcp"}},
		{"server", server.DefaultSettings()},
		{"mcp", mcphttp.DefaultSettings()},
		{"tools", mcptools.ToolSettings{}},
		{"scopes", Scopes{Required: []string{}, Initial: []string{}, Implies: []string{}, Descriptions: []string{}}},
		{"log", Log{Level: "info", Format: "text"}},
		{"audit", audit.DefaultSettings()},
		{"denials", denials.DefaultSettings()},
	}
}

// Keys returns all settings: those that always exist, then those of each kind of provider, in [Kinds] or extra.
func Keys(extra ...Kind) []Key { return kindTable(slices.Concat(Kinds(), extra)).keys() }

func (t kindTable) keys() []Key {
	var keys []Key
	for _, s := range sections() {
		keys = append(keys, keysOf(s.name, s.defaults, "")...)
	}
	keys = append(keys, Key{Name: kindKey, Help: "kind of identity provider: " + strings.Join(t.names(), ", "),
		Default: "", Values: t.names(), typ: reflect.TypeFor[string]()})
	for _, k := range t {
		keys = append(keys, keysOf("provider", k.Defaults(), k.Name)...)
	}
	for i, k := range keys {
		if k.Name == presetKey {
			keys[i].Values = presetNames() // which package oidc does not know
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
		key := Key{Name: name, Help: field.Tag.Get("help"), Default: v.Field(i).Interface(), Kind: kind, typ: field.Type}
		if values := field.Tag.Get("values"); values != "" {
			key.Values = strings.Split(values, ",")
		}
		keys = append(keys, key)
	}
	return keys
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
