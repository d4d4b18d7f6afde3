package configs

import (
	"slices"
	"strings"

	"gatehouse/providers"
)

// conditionallyRequired are settings that the kind itself requires, where the others need them: the
// alternatives in a preset's comment do without them.
var conditionallyRequired = []string{"issuer", "allowed_clients", "client_id", "client_secret", "secrets_file"}

// validatePreset reports settings that the preset requires and nothing sets. Without them the server would
// start, and refuse every token or every call. An empty value from another source than the preset counts as
// set: it is a decision.
func (l *loader) validatePreset(kind Kind) {
	name := l.merged.String(presetKey)
	if !slices.Contains(kind.presetNames(), name) {
		return
	}
	preset := parsePreset(name, kind.presetFile(name))
	report := l.report("provider")
	for _, setting := range preset.Required {
		if !l.isDefault("provider."+setting) || slices.Contains(conditionallyRequired, setting) {
			continue
		}
		report(providers.Problem{Key: setting, Code: providers.CodeMissing,
			Reason: "the preset " + name + " requires it",
			Fix:    "set it, as configs/" + kind.Presets + "/" + name + ".yaml says: " + preset.instruction(setting)})
	}
}

// instruction returns what the preset says about a setting that it requires.
func (p Preset) instruction(setting string) string {
	for item := range strings.SplitSeq(strings.TrimPrefix(p.AtProvider, "- "), " - ") {
		if strings.Contains(item, "provider."+setting) {
			return strings.TrimSuffix(item, ".")
		}
	}
	return ""
}
