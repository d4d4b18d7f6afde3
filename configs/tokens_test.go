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

// shape is a token as a provider makes it, in testdata/tokens/PRESET.json. It is signed with a key of the test, or known to
// an introspection endpoint of the test; all else is the provider's.
type shape struct {
	Name string
	// From is where the shape comes from: a token that was taken from the product, or what was read.
	From string
	// Settings are what an operator sets beside the preset, without "provider.".
	Settings map[string]string
	// MetadataIssuer is what the provider's metadata says, if not the issuer setting.
	MetadataIssuer string `json:"metadata_issuer"`
	Header         map[string]any
	// Claims are those of the token or, if it is opaque, the answer about it.
	Claims map[string]any
	// Opaque is the token itself, if it is no JWT.
	Opaque string
	// InactiveStatus is how the introspection endpoint answers about a token that is not active; 0 means 200
	// and the member.
	InactiveStatus int `json:"inactive_status"`
	// Is is whom the server must take the caller for.
	Is identity
	// Refused is why no setting here lets the token in; then Is says nothing.
	Refused providers.Reason
	// Advertised are the scopes that clients must be told to ask for.
	Advertised []string
	// NearMisses are tokens that somebody else could have, and that must be refused; Admits those that are not refused, so that
	// nobody believes they are.
	NearMisses []variation `json:"near_misses"`
	Admits     []variation
}

type identity struct {
	Issuer, Subject, Client string
	Scopes                  []string
}

// variation is the token of a shape with changes; null takes a member away.
type variation struct {
	// Kind is id_token, other_audience, other_tenant, other_client, or other.
	Kind           string
	Name           string
	Header, Claims map[string]any
	// Signed makes a JWT of what is opaque otherwise; the introspection endpoint does not know it.
	Signed bool
	// Inactive makes the introspection endpoint say that it does not know the token.
	Inactive bool
	Reason   providers.Reason
}

// missKinds are the near misses that every preset must have an answer to.
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
	if diff := gocmp.Diff(presetNames(), names); diff != "" {
		t.Error(diff)
	}
}

func TestTokensOfEachPresetAreAcceptedAndNearMissesRefused(t *testing.T) {
	for _, preset := range presetNames() {
		for _, s := range shapesOf(t, preset) {
			t.Run(preset+"/"+s.Name, func(t *testing.T) {
				for _, deviation := range try(t, preset, s, s.Settings) {
					t.Error(deviation)
				}
			})
		}
	}
}

// unnamed holds the tokens of providers that have no preset: kind oidc with the settings of the shape.
const unnamed = "no-preset/"

func TestTokensWithoutAPresetAreAcceptedAndNearMissesRefused(t *testing.T) {
	records, err := filepath.Glob("testdata/tokens/" + unnamed + "*.json")
	if err != nil || len(records) == 0 {
		t.Fatal(records, err)
	}
	for _, r := range records {
		name := unnamed + strings.TrimSuffix(filepath.Base(r), ".json")
		for _, s := range shapesOf(t, name) {
			t.Run(name+"/"+s.Name, func(t *testing.T) {
				if s.From == "" || s.Name == "" {
					t.Error("it does not say where it comes from")
				}
				for _, deviation := range try(t, name, s, s.Settings) {
					t.Error(deviation)
				}
			})
		}
	}
}

func TestEachPresetHasAnAnswerToEveryNearMiss(t *testing.T) {
	for _, preset := range presetNames() {
		var answered []string
		for _, s := range shapesOf(t, preset) {
			if s.From == "" || s.Name == "" {
				t.Errorf("%s: a shape without a name, or of which nobody knows where it comes from", preset)
			}
			for _, v := range slices.Concat(s.NearMisses, s.Admits) {
				answered = append(answered, v.Kind)
				if v.Name == "" || v.Kind != "other" && !slices.Contains(missKinds, v.Kind) {
					t.Errorf("%s: %+v", preset, v)
				}
			}
		}
		for _, kind := range missKinds {
			if !slices.Contains(answered, kind) {
				t.Errorf("%s: neither a near miss nor an admitted token of kind %s", preset, kind)
			}
		}
	}
}

// A line of a preset that changes nothing would pass for a protection. A line that repeats a default is one against the day
// on which the default changes.
func TestEachLineOfAPresetIsNeeded(t *testing.T) {
	for _, preset := range presetNames() {
		for key, value := range presetValues(t, preset) {
			i := slices.IndexFunc(Keys(), func(k Key) bool { return k.Name == key && k.Kind == presetKind() })
			if key == "provider.introspection_url" || i < 0 {
				continue // the test has an endpoint of its own
			}
			converted, _ := convert(value, Keys()[i], false)
			if gocmp.Equal(converted, Keys()[i].Default) {
				continue
			}
			t.Run(preset+"/"+key, func(t *testing.T) {
				for _, s := range shapesOf(t, preset) {
					settings := map[string]string{strings.TrimPrefix(key, "provider."): Keys()[i].DefaultText()}
					maps.Copy(settings, s.Settings)
					if len(try(t, preset, s, settings)) > 0 {
						return
					}
				}
				t.Error("without this line all is the same")
			})
		}
	}
}

// What the documentation tells people to set beside a preset is all that is needed, and nothing that is not.
func TestRequiredSettingsOfPresetsAreNeededAndEnough(t *testing.T) {
	for _, p := range Presets() {
		s := shapesOf(t, p.Name)[0]
		if diff := gocmp.Diff(slices.Sorted(slices.Values(p.Required)), slices.Sorted(maps.Keys(s.Settings))); diff != "" {
			t.Errorf("%s: the preset names other settings than its first token needs:\n%s", p.Name, diff)
		}
		for _, key := range p.Required {
			t.Run(p.Name+" without "+key, func(t *testing.T) {
				settings := maps.Clone(s.Settings)
				delete(settings, key)
				if len(try(t, p.Name, s, settings)) == 0 {
					t.Error("all is the same")
				}
			})
		}
	}
}

// try loads the preset with settings beside it, opens the provider against an authority of the test, and returns what is
// not as the shape says.
func try(t *testing.T, preset string, s shape, settings map[string]string) (deviations []string) {
	t.Helper()
	a := newAuthority(t, s)
	config, err := Load(a.sources(t, preset, settings))
	if err != nil {
		return []string{err.Error()}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	provider, err := config.Provider.Open(ctx, providers.ServerInfo{Resource: config.Resource, InitialScopes: config.Scopes.Initial, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return []string{err.Error()}
	}
	deviate := func(name, format string, args ...any) {
		deviations = append(deviations, name+": "+fmt.Sprintf(format, args...))
	}
	metadata := provider.Metadata()
	if s.Advertised != nil && !slices.Equal(metadata.ScopesSupported, s.Advertised) {
		deviate("metadata", "clients are told to ask for %q, not %q", metadata.ScopesSupported, s.Advertised)
	}
	if len(metadata.AuthorizationServers) != 1 {
		deviate("metadata", "clients are sent to %q", metadata.AuthorizationServers)
	}
	switch id, err := a.verify(t, provider, variation{}); {
	case s.Refused != "":
		if reason := providers.ReasonOf(err); reason != s.Refused {
			deviate("it", "gives %v, %v, not %s", id, err, s.Refused)
		}
	case err != nil:
		deviate("it", "refused: %v", err)
	default:
		want := s.Is
		want.Issuer = cmp.Or(want.Issuer, fmt.Sprint(s.Claims["iss"]))
		if diff := gocmp.Diff(want, identity{id.Issuer, id.Subject, id.Client, id.Scopes}, cmpopts.EquateEmpty()); diff != "" {
			deviate("it", "another identity:\n%s", diff)
		}
	}
	for _, v := range s.Admits {
		if _, err := a.verify(t, provider, v); err != nil {
			deviate(v.Name, "refused: %v", err)
		}
	}
	for _, v := range s.NearMisses {
		if id, err := a.verify(t, provider, v); providers.ReasonOf(err) != v.Reason || v.Reason == "" {
			deviate(v.Name, "gives %v, %v, not %s", id, err, v.Reason)
		}
	}
	return deviations
}

// authority plays the provider: metadata, keys, and two ways to ask about tokens.
type authority struct {
	shape  shape
	issuer *providertest.Issuer
	server *httptest.Server
	known  map[string]any // the answer about the opaque token, nil if there is none
}

func newAuthority(t *testing.T, s shape) *authority {
	t.Helper()
	a := &authority{shape: s, issuer: providertest.NewIssuer(t)}
	if alg, _ := s.Header["alg"].(string); alg != "" && alg != string(jose.RS256) {
		a.issuer.AddKey(jose.SignatureAlgorithm(alg))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{
			"issuer":   cmp.Or(s.MetadataIssuer, s.Settings["issuer"]),
			"jwks_uri": a.issuer.KeysURL(), "introspection_endpoint": a.server.URL + "/introspect",
		})
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		switch {
		case id != s.Settings["client_id"] || secret != s.Settings["client_secret"]:
			answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		case (r.FormValue("token") != s.Opaque || a.known == nil) && s.InactiveStatus != 0:
			w.WriteHeader(s.InactiveStatus)
		case r.FormValue("token") != s.Opaque || a.known == nil:
			answer(w, http.StatusOK, map[string]any{"active": false})
		default:
			answer(w, http.StatusOK, a.known)
		}
	})
	mux.HandleFunc("GET /tokeninfo", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("access_token") != s.Opaque || a.known == nil {
			answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_token", "error_description": "Invalid Value"})
			return
		}
		answer(w, http.StatusOK, a.known)
	})
	a.server = httptest.NewServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// sources are what an operator would write, and the addresses of the authority. Secrets come from the environment, because
// they have no flags.
func (a *authority) sources(t *testing.T, preset string, settings map[string]string) Sources {
	t.Helper()
	s := Sources{Flags: map[string]string{
		"resource": "https://mcp.example.com/mcp", "provider.discovery_url": a.server.URL + "/metadata", "provider.introspection_cache": "1ns",
		"scopes.required": "mcp:use", "scopes.initial": "mcp:use,greet:read",
	}}
	if strings.HasPrefix(preset, unnamed) {
		s.Flags[kindKey] = presetKind()
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

// verify presents the token of v. Keys and addresses are fetched in the background, so the provider may need a moment.
func (a *authority) verify(t *testing.T, provider providers.Provider, v variation) (*providers.Identity, error) {
	t.Helper()
	token := a.shape.Opaque
	a.known = nil
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
		a.known = a.claims(v)
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		id, err := provider.Verify(t.Context(), token)
		if !errors.Is(err, providers.ErrUnavailable) || time.Since(start) > 2*time.Second {
			return id, err
		}
	}
}

// claims are those of the shape with the changes of v, at this time.
func (a *authority) claims(v variation) map[string]any {
	claims := maps.Clone(a.shape.Claims)
	maps.Copy(claims, v.Claims)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	for name, value := range claims {
		if text, ok := value.(string); ok && strings.HasPrefix(text, "<now") {
			claims[name] = moment(text)
		}
	}
	return claims
}

// moment reads <now>, <now+300> or, for providers that write numbers as text, <now+300 as text>.
func moment(text string) any {
	var offset int64
	_, _ = fmt.Sscanf(text, "<now%d", &offset)
	at := time.Now().Unix() + offset
	if strings.HasSuffix(text, " as text>") {
		return fmt.Sprint(at)
	}
	return at
}
