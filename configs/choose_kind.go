package configs

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/providers"
)

const (
	kindKey        = "provider.kind"
	presetKey      = "provider.preset"
	providerPrefix = "provider."
)

// effectiveValue returns the value of key in the last layer that sets it, and that layer.
func effectiveValue(layers []layer, key string) (value any, by layer, set bool) {
	for _, one := range layers {
		if v, ok := one.values[key]; ok {
			value, by, set = v, one, true
		}
	}
	return value, by, set
}

// chooseKind finds provider.kind, which decides which keys exist, and reads the preset. An implicit layer
// decides only if neither an explicit one nor the preset does. The preset comes before the other layers,
// which override it. The kind is empty if it or the preset is unknown.
func (l *loader) chooseKind(layers []layer) ([]layer, Kind) {
	explicit := slices.DeleteFunc(slices.Clone(layers), func(one layer) bool { return one.implicit })
	kind, _, isSet := effectiveValue(explicit, kindKey)
	presetKnown := true
	// With another kind, provider.preset is reported as a setting of the wrong kind.
	name, by, isPresetSet := effectiveValue(layers, presetKey)
	ofKind := presetKind()
	if isSet {
		text, _ := kind.(string)
		ofKind, _ = l.kinds.named(text)
	}
	if isPresetSet && name != "" && ofKind.Presets != "" {
		var preset layer
		preset, presetKnown = l.readPreset(ofKind, name, by)
		if !isSet {
			preset.set(kindKey, ofKind.Name, derivedFrom+presetKey)
		}
		layers, isSet = slices.Concat([]layer{preset}, layers), true
	}
	for _, one := range layers {
		if isSet && one.implicit {
			delete(one.values, kindKey)
		}
	}
	found := l.findKind(layers)
	if !presetKnown {
		return layers, Kind{}
	}
	return layers, found
}

// findKind returns the kind that the layers name, and reports a missing or unknown one.
func (l *loader) findKind(layers []layer) Kind {
	value, by, isSet := effectiveValue(layers, kindKey)
	name, isText := value.(string)
	if isSet && !isText {
		return Kind{} // its type is reported with that of the other values
	}
	if kind, known := l.kinds.named(name); known {
		return kind
	}
	p := Problem{Key: kindKey, Value: quoteValue(name), Origin: by.origins[kindKey],
		Code: providers.CodeUnknownValue, Reason: "there is no such kind of provider",
		Fix: "use one of: " + strings.Join(l.kinds.names(), ", ")}
	switch near := Nearest(name, append(l.kinds.names(), presetKind().presetNames()...)); {
	case name == "" && l.isKindHidden(layers):
		return Kind{}
	case name == "":
		p.Code, p.Value, p.Reason = providers.CodeMissing, "", kindKey+" is not set"
		if !isSet {
			p.Origin = defaultOrigin
		}
	case slices.Contains(presetKind().presetNames(), near):
		p.Fix = fmt.Sprintf("%s is a preset: set %s to %s and %s to %s",
			near, by.spell(kindKey), presetKind().Name, by.spell(presetKey), near)
	case near != "":
		p.Fix = "did you mean " + near + "?"
	}
	l.addProblem(p)
	return Kind{}
}

// isKindHidden reports whether another problem hides the kind: the profile cannot be read, or "provider" is
// not a section.
func (l *loader) isKindHidden(layers []layer) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Key == configKey }) ||
		slices.ContainsFunc(layers, func(one layer) bool { _, isValue := one.values["provider"]; return isValue })
}
