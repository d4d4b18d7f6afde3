package configs

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"gatehouse/providers"
)

//go:embed presets/*.yaml presets/broker/*.yaml
var presetFiles embed.FS

const presetOrigin = "preset " // followed by the name

// Preset is a named set of settings that fits one provider, for a kind with [Kind.Presets]. It has no code:
// every layer but the defaults overrides its settings.
type Preset struct {
	// Name is the value of provider.preset.
	Name string
	// Summary is one sentence for users.
	Summary string
	// Required are the settings that an operator must add, without "provider.".
	Required []string
	// Registration says which kinds of client registration the provider supports: pre-registration, client ID
	// metadata documents, dynamic registration.
	Registration string
	// Evidence says whether tokens of the product were examined, or its documentation only.
	Evidence string
	// Sources are the documents and measurements that the settings are taken from.
	Sources string
	// AtProvider is what to set up at the provider, and NotVerified what was not tried.
	AtProvider, NotVerified string
}

// AllPresets returns the presets of the kind, sorted by name.
func (k Kind) AllPresets() []Preset {
	var presets []Preset
	for _, name := range k.presetNames() {
		presets = append(presets, parsePreset(name, k.presetFile(name)))
	}
	return presets
}

func (k Kind) presetNames() []string {
	if k.Presets == "" {
		return nil
	}
	entries, _ := presetFiles.ReadDir(k.Presets) // embedded, sorted
	var names []string
	for _, e := range entries {
		if name, isPreset := strings.CutSuffix(e.Name(), ".yaml"); isPreset {
			names = append(names, name)
		}
	}
	return names
}

func (k Kind) presetFile(name string) []byte {
	content, _ := presetFiles.ReadFile(k.Presets + "/" + name + ".yaml") // embedded
	return content
}

// parsePreset parses the comment at the start of a preset: a sentence, and then paragraphs that begin with a
// label. Paragraphs with other labels are for readers of the file.
func parsePreset(name string, content []byte) Preset {
	p := Preset{Name: name}
	var required, skipped string
	paragraphs := map[string]*string{
		"Required": &required, "Registration": &p.Registration, "Evidence": &p.Evidence, "Sources": &p.Sources,
		"At the provider": &p.AtProvider, "Not verified": &p.NotVerified,
	}
	current := &p.Summary
	for line := range strings.Lines(string(content)) {
		text, isComment := strings.CutPrefix(line, "#")
		if !isComment {
			break
		}
		text = strings.TrimSpace(text)
		if text == "" {
			current = &skipped
			continue
		}
		if label, rest, _ := strings.Cut(text, ":"); paragraphs[label] != nil {
			current, text = paragraphs[label], rest
		}
		*current = strings.TrimSpace(*current + " " + strings.TrimSpace(text))
	}
	p.Required = splitList(required)
	return p
}

// readPreset returns the settings of the preset with that name, which the layer by sets. A name that is not
// text is reported with the types of the other values.
func (l *loader) readPreset(kind Kind, name any, by layer) (preset layer, known bool) {
	text, isText := name.(string)
	if isText && !slices.Contains(kind.presetNames(), text) {
		l.addProblem(unknownPreset(kind.presetNames(), text, by, l.kinds.names()))
	}
	r := newProfileReader(func(int) string { return presetOrigin + text })
	r.read(kind.presetFile(text))
	l.problems = append(l.problems, r.problems...)
	return r.layer, !isText || slices.Contains(kind.presetNames(), text)
}

func unknownPreset(presets []string, name string, by layer, kinds []string) Problem {
	all := strings.Join(presets, ", ")
	p := Problem{Key: presetKey, Value: quoteValue(name), Origin: by.origins[presetKey],
		Code: providers.CodeUnknownValue, Reason: "there is no such preset", Fix: "use one of: " + all}
	switch near := Nearest(name, slices.Concat(presets, kinds)); {
	case slices.Contains(kinds, near):
		p.Fix = fmt.Sprintf("%s is a kind, not a preset: set %s to it, and no preset", near, by.spell(kindKey))
	case near != "":
		p.Fix = "did you mean " + near + "? The presets are: " + all
	}
	return p
}
