package configs_test

import (
	"regexp"
	"testing"

	"gatehouse/configs"
	"gatehouse/providers"
)

func TestKindsAreUniqueAndComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range configs.Kinds() {
		if !regexp.MustCompile(`^[a-z][a-z0-9-]*$`).MatchString(kind.Name) || kind.Summary == "" ||
			kind.Defaults == nil {
			t.Errorf("incomplete: %+v", kind)
		}
		if seen[kind.Name] {
			t.Errorf("%s is in the table twice", kind.Name)
		}
		seen[kind.Name] = true
		if found, ok := configs.KindNamed(kind.Name); !ok || found.Summary != kind.Summary {
			t.Errorf("KindNamed(%q) = %+v, %t", kind.Name, found, ok)
		}
		if kind.Defaults() == kind.Defaults() {
			t.Errorf("%s: two configurations would share one settings value", kind.Name)
		}
	}
	for _, name := range []string{"", "Local", "unknown"} {
		if _, ok := configs.KindNamed(name); ok {
			t.Errorf("KindNamed(%q) found something", name)
		}
	}
}

// A kind that needs no account needs no settings either.
func TestLocalKindNeedsNoSettings(t *testing.T) {
	kind, _ := configs.KindNamed("local")
	r := must(providers.ParseResource(resource))
	kind.Defaults().Validate(r, func(p providers.Problem) { t.Errorf("%+v", p) })
}
