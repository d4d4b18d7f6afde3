package configs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
)

// shape is a token of a provider, in testdata/tokens/PRESET.json. The test signs it, or its introspection
// endpoint accepts it; everything else is as issued by the provider.
type shape struct {
	Name string
	// From is the origin of the shape: a token taken from the product, or a document.
	From string
	// Settings are what an operator sets in addition to the preset, without "provider.".
	Settings map[string]string
	// MetadataIssuer is the issuer in the metadata of the provider, if it differs from the setting.
	MetadataIssuer string `json:"metadata_issuer"`
	Header         map[string]any
	// Claims are those of the token or, if it is opaque, its introspection response.
	Claims map[string]any
	// Opaque is the token, if it is not a JWT.
	Opaque string
	// InactiveStatus is the status of the introspection response for a token that is not active; 0 means 200
	// with active false.
	InactiveStatus int `json:"inactive_status"`
	// Is is the expected identity.
	Is identity
	// Refused is the expected reason, if no settings accept the token; then Is is not used.
	Refused providers.Reason
	// Advertised is the expected scopes_supported.
	Advertised []string
	// NearMisses are tokens for another purpose or client, which must be refused. Admits are those that are
	// accepted nevertheless, so that this is on record.
	NearMisses []variation `json:"near_misses"`
	Admits     []variation
}

type identity struct {
	Issuer, Subject, Client string
	Scopes                  []string
}

// variation is the token of a shape with changes; null removes a member.
type variation struct {
	// Kind is id_token, other_audience, other_tenant, other_client, or other.
	Kind           string
	Name           string
	Header, Claims map[string]any
	// Signed makes a JWT of an opaque token, which the introspection endpoint does not accept.
	Signed bool
	// Inactive makes the introspection endpoint treat the token as inactive.
	Inactive bool
	Reason   providers.Reason
}

// missKinds are the kinds of near misses that every preset must have a token for.
var missKinds = []string{"id_token", "other_audience", "other_tenant", "other_client"}

func shapesOf(t testing.TB, preset string) []shape {
	t.Helper()
	content, err := os.ReadFile("testdata/tokens/" + preset + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var shapes []shape
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&shapes); err != nil || len(shapes) == 0 {
		t.Fatalf("%s: %v", preset, err)
	}
	return shapes
}

func TestEachPresetHasItsTokens(t *testing.T) {
	records, err := filepath.Glob("testdata/tokens/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range records {
		names = append(names, strings.TrimSuffix(filepath.Base(r), ".json"))
	}
	if diff := gocmp.Diff(presetKind().presetNames(), names); diff != "" {
		t.Error(diff)
	}
}

func TestTokensOfEachPresetAreAcceptedAndNearMissesRefused(t *testing.T) {
	for _, preset := range presetKind().presetNames() {
		for _, s := range shapesOf(t, preset) {
			t.Run(preset+"/"+s.Name, func(t *testing.T) {
				for _, deviation := range deviationsOf(t, preset, s, s.Settings) {
					t.Error(deviation)
				}
			})
		}
	}
}

// noPreset is the folder with tokens of providers without a preset: kind oidc with the settings of the shape.
const noPreset = "no-preset/"

func TestTokensWithoutAPresetAreAcceptedAndNearMissesRefused(t *testing.T) {
	records, err := filepath.Glob("testdata/tokens/" + noPreset + "*.json")
	if err != nil || len(records) == 0 {
		t.Fatal(records, err)
	}
	for _, r := range records {
		name := noPreset + strings.TrimSuffix(filepath.Base(r), ".json")
		for _, s := range shapesOf(t, name) {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				if s.From == "" || s.Name == "" {
					t.Error("a shape without a name or an origin")
				}
				for _, deviation := range deviationsOf(t, name, s, s.Settings) {
					t.Error(deviation)
				}
			})
		}
	}
}

func TestEachPresetCoversEveryKindOfNearMiss(t *testing.T) {
	for _, preset := range presetKind().presetNames() {
		var covered []string
		for _, s := range shapesOf(t, preset) {
			if s.From == "" || s.Name == "" {
				t.Errorf("%s: a shape without a name or an origin", preset)
			}
			for _, v := range slices.Concat(s.NearMisses, s.Admits) {
				covered = append(covered, v.Kind)
				if v.Name == "" || v.Kind != "other" && !slices.Contains(missKinds, v.Kind) {
					t.Errorf("%s: %+v", preset, v)
				}
			}
		}
		for _, kind := range missKinds {
			if !slices.Contains(covered, kind) {
				t.Errorf("%s: neither a near miss nor an admitted token of kind %s", preset, kind)
			}
		}
	}
}

// A line of a preset that has no effect would look like a protection. A line that repeats a default keeps its
// value if the default changes.
func TestEachLineOfAPresetIsNeeded(t *testing.T) {
	for _, preset := range presetKind().presetNames() {
		for key, value := range presetValues(t, preset) {
			i := slices.IndexFunc(Keys(), func(k Key) bool { return k.Name == key && k.Kind == presetKind().Name })
			if key == "provider.introspection_url" || i < 0 {
				continue // the test uses its own endpoint
			}
			converted, _ := convert(value, Keys()[i], false)
			if gocmp.Equal(converted, Keys()[i].Default) {
				continue
			}
			t.Run(preset+"/"+key, func(t *testing.T) {
				for _, s := range shapesOf(t, preset) {
					settings := map[string]string{strings.TrimPrefix(key, "provider."): Keys()[i].DefaultText()}
					maps.Copy(settings, s.Settings)
					if len(deviationsOf(t, preset, s, settings)) > 0 {
						return
					}
				}
				t.Error("this line makes no difference")
			})
		}
	}
}

// The required settings in the documentation of a preset are necessary and sufficient.
func TestRequiredSettingsOfPresetsAreNeededAndEnough(t *testing.T) {
	for _, p := range presetKind().AllPresets() {
		s := shapesOf(t, p.Name)[0]
		if diff := gocmp.Diff(slices.Sorted(slices.Values(p.Required)),
			slices.Sorted(maps.Keys(s.Settings))); diff != "" {
			t.Errorf("%s: the preset names other settings than its first token needs:\n%s", p.Name, diff)
		}
		for _, key := range p.Required {
			t.Run(p.Name+" without "+key, func(t *testing.T) {
				settings := maps.Clone(s.Settings)
				delete(settings, key)
				if len(deviationsOf(t, p.Name, s, settings)) == 0 {
					t.Error("it makes no difference")
				}
			})
		}
	}
}

// deviationsOf loads the preset with the settings, opens the provider against an authority of the test, and
// returns the differences from the shape.
func deviationsOf(t *testing.T, preset string, s shape, settings map[string]string) (deviations []string) {
	t.Helper()
	a := newAuthority(t, s)
	config, err := Load(a.sources(t, preset, settings))
	if err != nil {
		return []string{err.Error()}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	provider, err := config.Provider.Open(ctx, providers.ServerInfo{Resource: config.Resource,
		InitialScopes: config.Scopes.Initial, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return []string{err.Error()}
	}
	report := func(name, format string, args ...any) {
		deviations = append(deviations, name+": "+fmt.Sprintf(format, args...))
	}
	metadata := provider.Metadata()
	if s.Advertised != nil && !slices.Equal(metadata.ScopesSupported, s.Advertised) {
		report("metadata", "scopes_supported is %q, not %q", metadata.ScopesSupported, s.Advertised)
	}
	if len(metadata.AuthorizationServers) != 1 {
		report("metadata", "authorization_servers is %q", metadata.AuthorizationServers)
	}
	switch id, err := a.verify(t, provider, variation{}); {
	case s.Refused != "":
		if reason := providers.ReasonOf(err); reason != s.Refused {
			report("the token", "gives %v, %v, not %s", id, err, s.Refused)
		}
	case err != nil:
		report("the token", "refused: %v", err)
	default:
		want := s.Is
		want.Issuer = cmp.Or(want.Issuer, fmt.Sprint(s.Claims["iss"]))
		if diff := gocmp.Diff(want, identity{id.Issuer, id.Subject, id.Client, id.Scopes},
			cmpopts.EquateEmpty()); diff != "" {
			report("the token", "another identity:\n%s", diff)
		}
	}
	for _, v := range s.Admits {
		if _, err := a.verify(t, provider, v); err != nil {
			report(v.Name, "refused: %v", err)
		}
	}
	for _, v := range s.NearMisses {
		if id, err := a.verify(t, provider, v); providers.ReasonOf(err) != v.Reason || v.Reason == "" {
			report(v.Name, "gives %v, %v, not %s", id, err, v.Reason)
		}
	}
	return deviations
}

// authority is a fake provider: metadata, keys, and two introspection endpoints.
type authority struct {
	shape  shape
	issuer *providertest.Issuer
	server *httptest.Server
	active map[string]any // the response for the opaque token, nil if it is not active
}

func newAuthority(t *testing.T, s shape) *authority {
	t.Helper()
	a := &authority{shape: s, issuer: providertest.NewIssuer(t)}
	if alg, _ := s.Header["alg"].(string); alg != "" && alg != string(jose.RS256) {
		a.issuer.AddKey(jose.SignatureAlgorithm(alg))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer":   cmp.Or(s.MetadataIssuer, s.Settings["issuer"]),
			"jwks_uri": a.issuer.KeysURL(), "introspection_endpoint": a.server.URL + "/introspect",
		})
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		switch {
		case id != s.Settings["client_id"] || secret != s.Settings["client_secret"]:
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		case (r.FormValue("token") != s.Opaque || a.active == nil) && s.InactiveStatus != 0:
			w.WriteHeader(s.InactiveStatus)
		case r.FormValue("token") != s.Opaque || a.active == nil:
			writeJSON(w, http.StatusOK, map[string]any{"active": false})
		default:
			writeJSON(w, http.StatusOK, a.active)
		}
	})
	mux.HandleFunc("GET /tokeninfo", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("access_token") != s.Opaque || a.active == nil {
			writeJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_token",
				"error_description": "Invalid Value"})
			return
		}
		writeJSON(w, http.StatusOK, a.active)
	})
	a.server = httptest.NewServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

func writeJSON(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// sources are what an operator would set, and the addresses of the authority. Secrets are in the environment,
// because they have no flags.
func (a *authority) sources(t *testing.T, preset string, settings map[string]string) Sources {
	t.Helper()
	s := Sources{Flags: map[string]string{
		"resource": "https://mcp.example.com/mcp", "provider.discovery_url": a.server.URL + "/metadata",
		"provider.introspection_cache": "1ns",
		"scopes.required":              "mcp:use", "scopes.initial": "mcp:use,greet:read",
	}}
	if strings.HasPrefix(preset, noPreset) {
		s.Flags[kindKey] = presetKind().Name
	} else if s.Flags[presetKey] = preset; presetValues(t, preset)["provider.introspection_url"] != nil {
		s.Flags["provider.introspection_url"] = a.server.URL + "/tokeninfo"
		delete(s.Flags, "provider.discovery_url")
	}
	for name, value := range settings {
		if name == "client_secret" {
			s.Environ = append(s.Environ, "GATEHOUSE_PROVIDER__CLIENT_SECRET="+value)
			continue
		}
		s.Flags["provider."+name] = value
	}
	return s
}

// verify presents the token of v. Keys and metadata are fetched in the background, so it retries for a while.
func (a *authority) verify(t *testing.T, provider providers.Provider, v variation) (*providers.Identity,
	error) {
	t.Helper()
	token := a.shape.Opaque
	a.active = nil
	switch {
	case token == "" || v.Signed:
		header := map[string]any{"typ": nil}
		maps.Copy(header, a.shape.Header)
		maps.Copy(header, v.Header)
		if header["alg"] != a.shape.Header["alg"] && !v.Signed {
			header["kid"] = nil
		}
		token = a.issuer.Sign(header, a.claims(v))
	case !v.Inactive:
		a.active = a.claims(v)
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		id, err := provider.Verify(t.Context(), token)
		if !errors.Is(err, providers.ErrUnavailable) || time.Since(start) > 2*time.Second {
			return id, err
		}
	}
}

// claims are those of the shape with the changes of v, with times relative to now.
func (a *authority) claims(v variation) map[string]any {
	claims := maps.Clone(a.shape.Claims)
	maps.Copy(claims, v.Claims)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	for name, value := range claims {
		if text, ok := value.(string); ok && strings.HasPrefix(text, "<now") {
			claims[name] = relativeTime(text)
		}
	}
	return claims
}

// relativeTime parses <now>, <now+300> or, for providers that write numbers as text, <now+300 as text>.
func relativeTime(text string) any {
	var offset int64
	_, _ = fmt.Sscanf(text, "<now%d", &offset)
	at := time.Now().Unix() + offset
	if strings.HasSuffix(text, " as text>") {
		return fmt.Sprint(at)
	}
	return at
}
