package configs

import (
	"slices"
	"testing"
)

// A setting without a class would need a restart unseen.
func TestKeys_HaveAReloadClass(t *testing.T) {
	for _, key := range Keys() {
		if !slices.Contains([]ReloadClass{ReloadLive, ReloadNew, ReloadRestart}, key.Reload) {
			t.Errorf("%s of kind %q: the tag reload is %q", key.Name, key.Kind, key.Reload)
		}
		known := []Loosening{"", LoosenedByRaising, LoosenedByAdding, LoosenedByRemoving, LoosenedByTrue, LoosenedByAny}
		if !slices.Contains(known, key.Loosens) {
			t.Errorf("%s of kind %q: the tag loosens is %q", key.Name, key.Kind, key.Loosens)
		}
	}
}

// What Compare compares and what is documented are the same.
func TestConfig_HasAValueOfEveryKey(t *testing.T) {
	for _, kind := range Kinds() {
		config := mustLoad(t, Sources{Flags: validFlags(kind.Name)})
		values := config.values()
		for _, key := range config.keys {
			if _, ok := values[key.Name]; !ok {
				t.Errorf("%s of kind %q has no value", key.Name, kind.Name)
			}
		}
		if len(values) != len(config.keys) {
			t.Errorf("kind %s has %d keys and %d values", kind.Name, len(config.keys), len(values))
		}
	}
}

// validFlags are the settings that a kind needs.
func validFlags(kind string) map[string]string {
	flags := map[string]string{"provider.kind": kind}
	switch kind {
	case "oidc":
		flags["provider.issuer"] = "https://login.example.com"
	case "scalekit":
		flags["provider.environment_url"], flags["provider.resource_id"] = "https://acme.scalekit.com", "res_123"
	}
	return flags
}
