package configs

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/oidc"
)

// documentedPresets are the presets that the documentation names.
var documentedPresets = []string{
	"auth0", "authelia", "casdoor", "clerk", "cognito", "descope", "dex", "entra", "gitea", "google", "hydra",
	"keycloak", "logto", "okta", "pocket-id", "stytch",
	"workos", "zitadel",
}

// documentedBrokerPresets are those of kind broker.
var documentedBrokerPresets = []string{"dex", "entra", "google", "keycloak", "oidc", "okta"}

func TestPresetsAreTheDocumentedOnes(t *testing.T) {
	broker, _ := KindNamed("broker")
	for _, kind := range []struct{ want, got []string }{
		{documentedPresets, presetKind().presetNames()}, {documentedBrokerPresets, broker.presetNames()},
	} {
		if diff := cmp.Diff(kind.want, kind.got); diff != "" {
			t.Error(diff)
		}
	}
}

// presetValues reads a preset as the loader does.
func presetValues(t testing.TB, name string) map[string]any {
	t.Helper()
	return presetValuesOf(t, presetKind(), name)
}

func presetValuesOf(t testing.TB, kind Kind, name string) map[string]any {
	t.Helper()
	r := newProfileReader(func(int) string { return name })
	r.read(kind.presetFile(name))
	if len(r.problems) > 0 {
		t.Fatal(r.problems)
	}
	return r.layer.values
}

// A preset has settings of its kind, each of its type, and no secrets.
func TestPresetsHaveOnlySettingsOfTheirKind(t *testing.T) {
	forEachPreset(t, func(t *testing.T, kind Kind, p Preset) {
		for key, value := range presetValuesOf(t, kind, p.Name) {
			i := slices.IndexFunc(Keys(), func(k Key) bool { return k.Name == key && k.Kind == kind.Name })
			switch {
			case i < 0:
				t.Errorf("%s is not a setting of kind %s", key, kind.Name)
			case Keys()[i].IsSecret() || strings.HasSuffix(key, fileSuffix):
				t.Errorf("%s is a secret", key)
			case key == presetKey:
				t.Errorf("a preset names a preset")
			default:
				if _, wrong := convert(value, Keys()[i], false); wrong != nil {
					t.Errorf("%s: %s", key, wrong.reason)
				}
			}
		}
	})
}

// forEachPreset runs a subtest for each preset of each kind.
func forEachPreset(t *testing.T, run func(*testing.T, Kind, Preset)) {
	for _, kind := range Kinds() {
		for _, p := range kind.AllPresets() {
			t.Run(kind.Name+"/"+p.Name, func(t *testing.T) { run(t, kind, p) })
		}
	}
}

// Before the first sign-in, operators have only the comments of the preset.
func TestPresetsAreDocumented(t *testing.T) {
	forEachPreset(t, func(t *testing.T, kind Kind, p Preset) {
		for label, text := range map[string]string{
			"summary": p.Summary, "Registration": p.Registration, "Evidence": p.Evidence, "Sources": p.Sources,
			"At the provider": p.AtProvider, "Not verified": p.NotVerified,
		} {
			if text == "" || strings.Contains(text, "|") {
				t.Errorf("%s: %q does not fit into a table", label, text)
			}
		}
		for _, way := range []string{"pre-registered", "dynamic", "client ID metadata document"} {
			if !strings.Contains(p.Registration, way) {
				t.Errorf("this kind of registration is not mentioned: %s", way)
			}
		}
		if !strings.Contains(p.Evidence, " taken from ") {
			t.Errorf("it is unclear whether a token was taken from the product: %s", p.Evidence)
		}
		if len(p.Required) == 0 {
			t.Error("it does not name the required settings")
		}
		for _, key := range p.Required {
			if !slices.ContainsFunc(Keys(), func(k Key) bool {
				return k.Name == "provider."+key &&
					k.Kind == kind.Name
			}) {
				t.Errorf("there is no setting provider.%s", key)
			}
		}
	})
}

func TestParsePreset(t *testing.T) {
	const content = `# One sentence,
# on two lines.
#
# Required: issuer, audiences
# Registration: this:
#   and that
#
# Something: for readers.
#
# At the provider:
#   - a
#   - b
# Not verified: c

# Evidence: no, this is not the first comment
provider: {}
`
	want := Preset{Name: "x", Summary: "One sentence, on two lines.", Required: []string{"issuer", "audiences"},
		Registration: "this: and that",
		AtProvider:   "- a - b", NotVerified: "c"}
	if diff := cmp.Diff(want, parsePreset("x", []byte(content))); diff != "" {
		t.Error(diff)
	}
}

const keycloakIssuer = "https://keycloak.example.com/realms/main"

// A preset overrides the kind of the built-in profile, and no other.
func TestPresetChoosesItsKind(t *testing.T) {
	flags := map[string]string{presetKey: "keycloak", "provider.issuer": keycloakIssuer}
	for name, s := range map[string]Sources{
		"as a flag": {Flags: flags},
		"in the environment": {Environ: []string{"GATEHOUSE_PROVIDER__PRESET=keycloak",
			"GATEHOUSE_PROVIDER__ISSUER=" + keycloakIssuer}},
		"in .env": {Dir: filepath.Dir(write(t, ".env",
			"GATEHOUSE_PROVIDER__PRESET=keycloak\nGATEHOUSE_PROVIDER__ISSUER="+keycloakIssuer+"\n"))},
		"in a profile without a kind": {Profile: write(t, "p.yaml",
			"provider:\n  preset: keycloak\n  issuer: "+keycloakIssuer+"\n")},
		"as a flag, over such a profile": {Profile: write(t, "p.yaml", "log.level: info\n"), Flags: flags},
		"in a profile with the kind": {Profile: write(t, "p.yaml",
			"provider:\n  kind: oidc\n  preset: keycloak\n  issuer: "+keycloakIssuer+"\n")},
		"over a kind that a later layer replaces": {
			Profile: write(t, "p.yaml", localKind), Environ: []string{"GATEHOUSE_PROVIDER__KIND=oidc"}, Flags: flags},
	} {
		t.Run(name, func(t *testing.T) {
			config := mustLoad(t, s)
			oidc, ok := config.Provider.(*oidc.Settings)
			if !ok || config.Kind != presetKind().Name {
				t.Fatalf("the kind is %s, the provider a %T", config.Kind, config.Provider)
			}
			if oidc.Preset != "keycloak" || oidc.Issuer != keycloakIssuer ||
				!slices.Equal(oidc.RequiredClaims, []string{"typ=Bearer"}) {
				t.Errorf("%+v", oidc)
			}
		})
	}
	t.Run("with its origin", func(t *testing.T) {
		config := mustLoad(t, Sources{Flags: flags})
		for _, want := range []Value{
			{kindKey, presetKind().Name, "derived from provider.preset"},
			{presetKey, "keycloak", "flag --provider.preset"},
			{"provider.required_claims", "typ=Bearer", "preset keycloak"},
			{"provider.issuer", keycloakIssuer, "flag --provider.issuer"},
			{"provider.leeway", "1m", "default"},
			{"scopes.required", "", "default"},
		} {
			if diff := cmp.Diff(want, effective(t, config, want.Key)); diff != "" {
				t.Error(diff)
			}
		}
	})
	t.Run("unless a later layer removes the preset", func(t *testing.T) {
		profile := write(t, "p.yaml", "provider:\n  kind: oidc\n  preset: keycloak\n  issuer: "+keycloakIssuer+"\n")
		config := mustLoad(t, Sources{Profile: profile, Flags: map[string]string{presetKey: ""}})
		if claims := config.Provider.(*oidc.Settings).RequiredClaims; len(claims) > 0 {
			t.Errorf("claims of the preset are required: %v", claims)
		}
	})
}

func TestPresetIsOverriddenByEveryLayer(t *testing.T) {
	claims := func(t *testing.T, s Sources) Value {
		t.Helper()
		return effective(t, mustLoad(t, s), "provider.required_claims")
	}
	profile := write(t, "p.yaml",
		"provider:\n  preset: keycloak\n  issuer: "+keycloakIssuer+"\n  required_claims: [by=profile]\n")
	silent := write(t, "silent.yaml", "provider:\n  preset: keycloak\n  issuer: "+keycloakIssuer+"\n")
	dir := filepath.Dir(write(t, ".env", "GATEHOUSE_PROVIDER__REQUIRED_CLAIMS=by=dot\n"))
	environ := []string{"GATEHOUSE_PROVIDER__REQUIRED_CLAIMS=by=environment"}
	flags := map[string]string{"provider.required_claims": "by=flag"}
	for want, s := range map[string]Sources{
		"typ=Bearer":     {Profile: silent},
		"by=profile":     {Profile: profile},
		"by=dot":         {Profile: profile, Dir: dir},
		"by=environment": {Profile: profile, Dir: dir, Environ: environ},
		"by=flag":        {Profile: profile, Dir: dir, Environ: environ, Flags: flags},
	} {
		if got := claims(t, s); got.Value != want {
			t.Errorf("%s is in force (%s), not %s", got.Value, got.Origin, want)
		}
	}
	// An empty list overrides, too.
	if got := effective(t, mustLoad(t,
		Sources{Profile: silent, Flags: map[string]string{"provider.required_claims": ""}}),
		"provider.required_claims").Value; got != "" {
		t.Errorf("required_claims is still %s", got)
	}
}

// A layer that names another preset replaces all settings of the first one.
func TestOnlyTheLastPresetCounts(t *testing.T) {
	profile := write(t, "p.yaml", "provider:\n  preset: keycloak\n  issuer: "+keycloakIssuer+"\n")
	config := mustLoad(t, Sources{Profile: profile, Flags: map[string]string{presetKey: "clerk"}})
	if got := config.Provider.(*oidc.Settings).RequiredClaims; len(got) > 0 {
		t.Errorf("claims of the other preset are required: %v", got)
	}
}

func TestPresetWithAnotherKindIsRefused(t *testing.T) {
	for name, s := range map[string]Sources{
		"in one profile": {Profile: write(t, "p.yaml", localKind+"  preset: keycloak\n")},
		"as a flag over a profile": {Profile: write(t, "p.yaml", localKind),
			Flags: map[string]string{presetKey: "keycloak"}},
		"with an unknown name": {Flags: map[string]string{kindKey: "local", presetKey: "nonesuch"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustRefuseOne(t, s)
			if p.Key != presetKey || !strings.Contains(p.Reason, "belongs to provider.kind oidc") ||
				!strings.HasSuffix(p.Fix, "provider.kind to oidc") {
				t.Errorf("%+v", p)
			}
		})
	}
}

// The variables of Scalekit's template imply a kind, and so does a preset.
func TestPresetConflictsWithLegacyVariables(t *testing.T) {
	p := mustRefuseOne(t, Sources{
		Environ: []string{"SK_ENV_URL=https://acme.scalekit.com"},
		Flags:   map[string]string{presetKey: "keycloak", "provider.issuer": keycloakIssuer},
	})
	if p.Key != kindKey || p.Origin != "derived from provider.preset" ||
		!strings.Contains(p.Fix, "remove SK_ENV_URL") {
		t.Errorf("%+v", p)
	}
}

func TestPresetNameAsKindGivesTheFix(t *testing.T) {
	for fix, s := range map[string]Sources{
		"entra is a preset: set provider.kind to oidc and provider.preset to entra": {Profile: write(t,
			"p.yaml", "provider.kind: entra\n")},
		"dex is a preset: set --provider.kind to oidc and --provider.preset to dex": {
			Flags: map[string]string{kindKey: "dex"}},
		"pocket-id is a preset: set provider.kind to oidc and provider.preset to pocket-id": {Profile: write(t,
			"p.yaml", "provider.kind: PocketID\n")},
		"okta is a preset: set GATEHOUSE_PROVIDER__KIND to oidc and GATEHOUSE_PROVIDER__PRESET to okta": {
			Environ: []string{"GATEHOUSE_PROVIDER__KIND=okta"}},
	} {
		if p := mustRefuseOne(t, s); p.Fix != fix {
			t.Errorf("%q, not %q", p.Fix, fix)
		}
	}
}

func TestUnknownPresetListsAllPresets(t *testing.T) {
	for name, fix := range map[string]string{
		"keyclaok":          "did you mean keycloak? The presets are: " + strings.Join(documentedPresets, ", "),
		"ping":              "use one of: " + strings.Join(documentedPresets, ", "),
		"../../x/okta.yaml": "use one of: " + strings.Join(documentedPresets, ", "),
		"presets/okta":      "use one of: " + strings.Join(documentedPresets, ", "),
		"scalekit":          "scalekit is a kind, not a preset: set --provider.kind to it, and no preset",
		"Okta":              "did you mean okta? The presets are: " + strings.Join(documentedPresets, ", "),
	} {
		if p := mustRefuseOne(t, Sources{Flags: map[string]string{presetKey: name}}); p.Fix != fix ||
			p.Key != presetKey || p.Origin != "flag --provider.preset" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestNotesNameClaimsOfThePresetThatAreReplaced(t *testing.T) {
	flags := map[string]string{"provider.preset": "keycloak",
		"provider.issuer": "https://login.example.com/realms/main", "resource": "https://mcp.example.com/mcp"}
	for claims, want := range map[string]bool{"": false, "email_verified=true": true,
		"typ=Bearer,email_verified=true": false} {
		if claims != "" {
			flags["provider.required_claims"] = claims
		}
		config := mustLoad(t, Sources{Flags: flags})
		if got := strings.Contains(strings.Join(config.Notes, "\n"),
			"replaces typ=Bearer of the preset keycloak"); got != want {
			t.Errorf("required_claims=%q: notes %q", claims, config.Notes)
		}
		delete(flags, "provider.required_claims")
	}
}
