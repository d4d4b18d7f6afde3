package configs

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

const presetKey = "provider.preset"

// Preset is a named set of settings of the kind that has them ([Kind.Presets]), one provider's. It is data and fills settings in, nothing else: every
// layer but the defaults overrides it.
type Preset struct {
	// Name is what provider.preset says.
	Name string
	// Summary is one sentence for people.
	Summary string
	// Beside are the settings that an operator has to add, without "provider.".
	Beside []string
	// Registration says how clients can be made known to the provider: pre-registered, by a client ID metadata document,
	// dynamically.
	Registration string
	// Proven says what was taken from the product itself, and what only read.
	Proven string
	// Sources are where that stands.
	Sources string
	// AtProvider is what must be done at the provider, and NotVerified what nobody has tried.
	AtProvider, NotVerified string
}

// Presets returns all presets by name.
func Presets() []Preset {
	var presets []Preset
	for _, name := range presetNames() {
		presets = append(presets, parsePreset(name, presetFile(name)))
	}
	return presets
}

func presetNames() []string {
	entries, _ := presetFiles.ReadDir("presets") // part of the binary, sorted
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

func presetFile(name string) []byte {
	content, _ := presetFiles.ReadFile("presets/" + name + ".yaml") // part of the binary
	return content
}

// parsePreset reads the comment that a preset begins with: a sentence, and then paragraphs that begin with a label. Others
// are for whoever reads the file.
func parsePreset(name string, content []byte) Preset {
	p := Preset{Name: name}
	var beside, skipped string
	paragraphs := map[string]*string{
		"Set beside it": &beside, "Registration": &p.Registration, "Proven": &p.Proven, "Sources": &p.Sources,
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
	p.Beside = splitList(beside)
	return p
}

// preset puts the settings of provider.preset in front of the other layers. Whoever names a preset chooses its kind, unless
// somebody chose one: the built-in profile did not, it only has to begin somewhere. It returns false if there is no such
// preset, because nothing can be said about the provider's settings then.
func (l *loader) preset(layers []layer) ([]layer, bool) {
	value, by, said := latest(layers, presetKey)
	name, isText := value.(string)
	if !said || isText && name == "" {
		return layers, true
	}
	preset := newLayer(false, func(key string) string { return key })
	chosen := slices.DeleteFunc(slices.Clone(layers), func(one layer) bool { return one.assumed })
	switch kind, _, isChosen := latest(chosen, kindKey); {
	case !isChosen:
		for _, one := range layers {
			delete(one.values, kindKey)
		}
		preset.set(kindKey, presetKind(), derivedFrom+presetKey)
	case kind != presetKind():
		return layers, true // then it is a setting of another kind, and refused as such
	}
	known := !isText || slices.Contains(presetNames(), name)
	switch {
	case !known:
		l.problems = append(l.problems, noSuchPreset(name, by))
	case isText:
		r := profileReader{layer: preset, lines: map[string]int{}, origin: func(int) string { return "preset " + name }}
		r.read(presetFile(name))
		l.problems = append(l.problems, r.problems...)
	}
	return append([]layer{preset}, layers...), known
}

func noSuchPreset(name string, by layer) Problem {
	p := Problem{Key: presetKey, Value: quoteValue(name), Origin: by.origins[presetKey], Reason: "there is no such preset",
		Fix: "use one of: " + strings.Join(presetNames(), ", ")}
	switch near := nearest(name, append(presetNames(), kindNames()...)); {
	case slices.Contains(kindNames(), near):
		p.Fix = fmt.Sprintf("%s is a kind of its own: set %s to it, and no preset", near, by.spell(kindKey))
	case near != "":
		p.Fix = "did you mean " + near + "? The presets are: " + strings.Join(presetNames(), ", ")
	}
	return p
}

// presetNotes says which claims of the preset are not required any more. They tell access tokens from others, and a list of
// one's own takes their place.
func (l *loader) presetNotes(layers []layer) []string {
	const key = "provider.required_claims"
	var notes []string
	for _, one := range layers {
		required, _ := one.values[key].([]any)
		if !strings.HasPrefix(one.origins[key], "preset ") {
			continue
		}
		for _, claim := range required {
			if text, isText := claim.(string); isText && !slices.Contains(l.merged.Strings(key), text) {
				notes = append(notes, key+" ("+l.origins[key]+") takes the place of "+text+" of the "+one.origins[key]+", which tells access tokens from others: add it to the list, unless your tokens do not have it")
			}
		}
	}
	return notes
}
