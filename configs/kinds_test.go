package configs_test

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"testing"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/providertest/acme"
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

func TestExtraKinds_CanBeChosen(t *testing.T) {
	acmeKind := configs.Kind{Name: "acme", Defaults: func() providers.Settings { return &acme.Settings{} }}
	load := func(kinds []configs.Kind, flags map[string]string) (*configs.Config, error) {
		return configs.Load(configs.Sources{Flags: flags, ExtraKinds: kinds})
	}
	kinds := []configs.Kind{acmeKind}
	flags := map[string]string{
		"provider.kind": "acme", "provider.tenant": "https://acme.example.com", "provider.api": "api-1",
	}
	cfg, err := load(kinds, flags)
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := cfg.Provider.(*acme.Settings)
	if !ok || cfg.Kind != "acme" || settings.Tenant != "https://acme.example.com" || settings.API != "api-1" {
		t.Errorf("kind %s, settings %+v", cfg.Kind, cfg.Provider)
	}
	if configs.Flags(acmeKind).Lookup("provider.tenant") == nil || configs.Flags().Lookup("provider.tenant") != nil {
		t.Error("Flags does not follow the kinds")
	}
	for name, c := range map[string]struct {
		kinds []configs.Kind
		kind  string
		want  providers.Code
	}{
		"not given":             {nil, "acme", providers.CodeUnknownValue},
		"another one is chosen": {kinds, "local", providers.CodeWrongKind},
		"the name is taken":     {append(kinds, acmeKind), "acme", providers.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			changed := maps.Clone(flags)
			changed["provider.kind"] = c.kind
			_, err := load(c.kinds, changed)
			var problems configs.Problems
			found := errors.As(err, &problems) &&
				slices.ContainsFunc(problems, func(p configs.Problem) bool { return p.Code == c.want })
			if !found {
				t.Errorf("got %v, want a problem with code %s", err, c.want)
			}
		})
	}
}
