package configs

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/mcptools/upstream"
)

// Flags returns a flag of the same name for each of [Keys], except secrets. [AddUpstreamFlags] adds those of upstreams,
// which depend on the command line.
func Flags(extra ...Kind) *pflag.FlagSet {
	flags := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	flags.SortFlags = false
	for _, k := range Keys(extra...) {
		if !k.hasFlag() || k.IsTemplate() || flags.Lookup(k.Name) != nil {
			continue
		}
		help := k.Help
		if k.Kind != "" {
			help += " (kind " + k.Kind + ")"
		}
		addFlag(flags, k, help)
	}
	return flags
}

// AddUpstreamFlags adds to flags those of each upstream that args name: a flag --upstreams.NAME.KEY adds all flags of
// this upstream, so that a misspelled KEY is an unknown flag that resembles a known one. Load reports an impossible
// NAME.
func AddUpstreamFlags(flags *pflag.FlagSet, args []string) {
	for _, arg := range args {
		if arg == "--" {
			return
		}
		flag, isFlag := strings.CutPrefix(arg, "--")
		flag, _, _ = strings.Cut(flag, "=")
		name, isUpstream := upstreamNameOf(flag)
		if !isFlag || !isUpstream || name == AnyName {
			continue
		}
		for _, k := range upstreamKeys(name) {
			if k.hasFlag() && flags.Lookup(k.Name) == nil {
				addFlag(flags, k, k.Help)
			}
		}
	}
}

func addFlag(flags *pflag.FlagSet, k Key, help string) {
	flags.String(k.Name, formatValue(k.Default), help)
	if k.typ.Kind() == reflect.Bool {
		flags.Lookup(k.Name).NoOptDefVal = "true"
	}
	flags.Lookup(k.Name).Value = &typedFlag{Value: flags.Lookup(k.Name).Value, typ: k.typeName()}
}

// FlagSection is a part of the list of all settings.
type FlagSection struct {
	Title string
	// Flags are the settings of the section with a flag. Settings that several kinds of provider have are in
	// the section of each.
	Flags *pflag.FlagSet
	// Secrets are the environment variables of those without a flag.
	Secrets []string
}

// FlagSections returns the flags of all settings by section.
func FlagSections() []FlagSection {
	var sections []FlagSection
	for _, k := range Keys() {
		name, _, isInSection := strings.Cut(k.Name, ".")
		title := "provider, kind " + k.Kind
		if k.Kind == "" {
			title = name
		}
		if !isInSection {
			title = "without a section"
		}
		i := slices.IndexFunc(sections, func(s FlagSection) bool { return s.Title == title })
		if i < 0 {
			flags := pflag.NewFlagSet(title, pflag.ContinueOnError)
			flags.SortFlags = false
			i, sections = len(sections), append(sections, FlagSection{Title: title, Flags: flags})
		}
		if !k.hasFlag() {
			sections[i].Secrets = append(sections[i].Secrets, envLayer(nil).spell(k.Name))
			continue
		}
		addFlag(sections[i].Flags, k, k.Help)
	}
	return sections
}

// FlagValues returns the values that the flag of a setting can have; nil if it has other values.
func FlagValues(name string) []string {
	keys := slices.Concat(Keys(), meantUpstreamKeys(name))
	if i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name }); i >= 0 {
		return keys[i].Values
	}
	return nil
}

// typedFlag shows the type of a setting in --help. Load converts the text later, like that of other layers.
type typedFlag struct {
	pflag.Value
	typ string
}

func (f *typedFlag) Type() string { return f.typ }

func (k Key) typeName() string {
	switch {
	case k.IsFile:
		return "file"
	case k.typ == reflect.TypeFor[time.Duration]():
		return "duration"
	case k.typ == reflect.TypeFor[upstream.Command]():
		return "JSON"
	case k.typ.Kind() == reflect.Slice:
		return "list"
	case k.typ == reflect.TypeFor[float64]():
		return "float"
	}
	return k.typ.Kind().String()
}
