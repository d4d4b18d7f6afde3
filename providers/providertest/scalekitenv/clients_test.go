package scalekitenv_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/providertest/scalekitenv"
)

const registration = "/api/v1/resources/R/clients:register"

func (env *testEnv) register(body string) answer {
	env.t.Helper()
	r := env.request(http.MethodPost, registration, body)
	r.Header.Set("Content-Type", "application/json")
	return env.do(r)
}

func TestRegistration(t *testing.T) {
	env := open(t)
	a := env.register(`{"client_name":"Inspector","redirect_uris":["` + callback +
		`"],"token_endpoint_auth_method":"none"}`)
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	client := a.json(t)
	id, _ := client["client_id"].(string)
	if _, err := time.Parse(time.RFC3339, client["create_time"].(string)); err != nil ||
		!strings.HasPrefix(id, "m2m_") {
		t.Errorf("client_id %q, create_time %v", id, err)
	}
	delete(client, "client_id")
	delete(client, "create_time")
	want := map[string]any{
		"name": "Inspector", "redirect_uris": []any{callback}, "scopes": []any{"todo:read", "todo:write"},
		"audience": []any{serverURL, env.ResourceID()}, "expiry": 3600.0, "resource_id": env.ResourceID(),
		"client_secret": "", "client_secret_expires_at": 0.0,
	}
	if diff := cmp.Diff(want, client); diff != "" {
		t.Error(diff)
	}
	token := env.post("/resources/R/oauth/token", exchange(id, env.code(id))).text(t, "access_token")
	if token == "" {
		t.Error("it cannot sign in")
	}
	short := env.register(`{"redirect_uris":["http://127.0.0.1/cb"],"scope":"todo:read"}`)
	if got := short.json(t)["scopes"]; !cmp.Equal(got, []any{"todo:read"}) {
		t.Errorf("scopes %v", got)
	}
}

func TestRegistrationRefusesInvalidMetadata(t *testing.T) {
	env := open(t)
	for body, want := range map[string]string{
		`{`:                               "invalid_client_metadata",
		`{}`:                              "invalid_redirect_uri",
		`{"redirect_uris":["/cb"]}`:       "invalid_redirect_uri",
		`{"redirect_uris":["http://a#"]}`: "invalid_redirect_uri",
	} {
		if a := env.register(body); a.StatusCode != http.StatusBadRequest || a.text(t, "error") != want {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
}

func TestRegistrationCanBeSwitchedOff(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound} {
		env := open(t)
		env.DisableRegistration(status)
		if a := env.register(`{"redirect_uris":["` + callback + `"]}`); a.StatusCode != status ||
			a.text(t, "message") == "" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if _, ok := env.get(appended).json(t)["registration_endpoint"]; ok {
			t.Error("the metadata still name the endpoint")
		}
	}
}

func TestOnlyClientsOfTheResourceCanSignIn(t *testing.T) {
	env := open(t, func(c *scalekitenv.Config) {
		c.Clients = []scalekitenv.Client{{ID: "skc_5", Secret: "s", RedirectURIs: []string{callback}},
			{ID: "m2m_5", RedirectURIs: []string{callback}}}
	})
	other := env.AddResource("http://localhost:3003/mcp")
	for id, want := range map[string]string{
		"m2m_5": "", "m2m_6": "invalid_client", other.Register(callback).ID: "invalid_client",
		"skc_5":            "invalid_client_metadata_url",
		env.OrgClient().ID: "invalid_client_metadata_url", env.ResourceID(): "invalid_client_metadata_url",
		"":                               "invalid_client_metadata_url",
		"http://insecure.example/client": "invalid_client_metadata_url",
	} {
		a := env.authorize(id)
		if want == "" {
			a.location(t)
			continue
		}
		if a.StatusCode != http.StatusBadRequest || a.text(t, "error") != want {
			t.Errorf("%q: %d %s, want %s", id, a.StatusCode, a.body, want)
		}
	}
}

func TestSecretsAreRandom(t *testing.T) {
	one, two := open(t), open(t)
	for name, pair := range map[string][2]scalekitenv.Client{
		"machine":      {one.MachineClient(), two.MachineClient()},
		"organization": {one.OrgClient(), two.OrgClient()},
		"environment":  {one.EnvironmentClient(), two.EnvironmentClient()},
	} {
		if len(pair[0].Secret) < 20 || pair[0].Secret == pair[1].Secret {
			t.Errorf("%s: the secrets are short or equal", name)
		}
	}
	body, err := json.Marshal(one.get(appended).json(t))
	if err != nil || strings.Contains(string(body), one.MachineClient().Secret) {
		t.Errorf("metadata with a secret, %v", err)
	}
}
