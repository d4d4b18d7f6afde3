package configs

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers"
)

// A preset without its companions is refused at start, with what to set them to.
func TestLoadRefusesAPresetWithoutWhatItRequires(t *testing.T) {
	for _, p := range presetKind().AllPresets() {
		complete := map[string]string{"resource": "https://mcp.example.com/mcp", presetKey: p.Name}
		for setting, value := range shapesOf(t, p.Name)[0].Settings {
			complete["provider."+setting] = value
		}
		problemsOf := func(flags map[string]string) Problems {
			s := Sources{Flags: maps.Clone(flags)}
			if secret, ok := flags["provider.client_secret"]; ok {
				delete(s.Flags, "provider.client_secret") // secrets have no flags
				s.Environ = []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=" + secret}
			}
			_, err := Load(s)
			problems, _ := errors.AsType[Problems](err)
			return problems
		}
		if problems := problemsOf(complete); len(problems) > 0 {
			t.Errorf("%s: %v", p.Name, problems)
		}
		for _, setting := range p.Required {
			t.Run(p.Name+" without "+setting, func(t *testing.T) {
				key := "provider." + setting
				if _, isInPreset := presetValues(t, p.Name)[key]; isInPreset {
					t.Skip("the preset has a value of its own")
				}
				flags := maps.Clone(complete)
				delete(flags, key)
				problems := problemsOf(flags)
				i := slices.IndexFunc(problems, func(p Problem) bool { return p.Key == key })
				if i < 0 && setting == "allowed_clients" { // reported where it makes every token acceptable
					i = slices.IndexFunc(problems, func(p Problem) bool { return p.Key == "provider.audience_mode" })
				}
				if i < 0 || len(problems) != 1 || problems[i].Fix == "" {
					t.Fatalf("%v", problems)
				}
				if slices.Contains(conditionallyRequired, setting) {
					return
				}
				if p := problems[i]; p.Code != providers.CodeMissing || !strings.Contains(p.Fix, key+" ") {
					t.Errorf("%+v", p)
				}
				flags[key] = "" // a decision
				for _, p := range problemsOf(flags) {
					if p.Key == key {
						t.Errorf("although it is set: %+v", p)
					}
				}
			})
		}
	}
}
