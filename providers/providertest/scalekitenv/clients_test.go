package scalekitenv_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/providertest/scalekitenv"
)

const registration = "/api/v1/resources/R/clients:register"

func (h *house) register(body string) answer {
	h.t.Helper()
	r := h.request(http.MethodPost, registration, body)
	r.Header.Set("Content-Type", "application/json")
	return h.do(r)
}

func TestClientsRegisterThemselves(t *testing.T) {
	h := open(t)
	a := h.register(`{"client_name":"Inspector","redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"none"}`)
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	client := a.json(t)
	id, _ := client["client_id"].(string)
	if _, err := time.Parse(time.RFC3339, client["create_time"].(string)); err != nil || !strings.HasPrefix(id, "m2m_") {
		t.Errorf("client_id %q, create_time %v", id, err)
	}
	delete(client, "client_id")
	delete(client, "create_time")
	want := map[string]any{
		"name": "Inspector", "redirect_uris": []any{callback}, "scopes": []any{"todo:read", "todo:write"},
		"audience": []any{serverURL, h.ResourceID()}, "expiry": 3600.0, "resource_id": h.ResourceID(),
		"client_secret": "", "client_secret_expires_at": 0.0,
	}
	if diff := cmp.Diff(want, client); diff != "" {
		t.Error(diff)
	}
	if token := h.post("/resources/R/oauth/token", exchange(id, h.code(id))).text(t, "access_token"); token == "" {
		t.Error("it cannot sign in")
	}
	if got := h.register(`{"redirect_uris":["http://127.0.0.1/cb"],"scope":"todo:read"}`).json(t)["scopes"]; !cmp.Equal(got, []any{"todo:read"}) {
		t.Errorf("scopes %v", got)
	}
}

func TestBrokenRegistrationsAreRefused(t *testing.T) {
	h := open(t)
	for body, want := range map[string]string{
		`{`:                               "invalid_client_metadata",
		`{}`:                              "invalid_redirect_uri",
		`{"redirect_uris":["/cb"]}`:       "invalid_redirect_uri",
		`{"redirect_uris":["http://a#"]}`: "invalid_redirect_uri",
	} {
		if a := h.register(body); a.StatusCode != http.StatusBadRequest || a.text(t, "error") != want {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
}

func TestRegistrationCanBeSwitchedOff(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound} {
		h := open(t)
		h.DisableRegistration(status)
		if a := h.register(`{"redirect_uris":["` + callback + `"]}`); a.StatusCode != status || a.text(t, "message") == "" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if _, ok := h.get(appended).json(t)["registration_endpoint"]; ok {
			t.Error("the metadata still name the endpoint")
		}
	}
}

// documents is a host of client ID metadata documents, by path; ID in one stands for its own address. /gone is gone.
func documents(t *testing.T, byPath map[string]string) *httptest.Server {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, ok := byPath[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusGone)
		}
		_, _ = w.Write([]byte(strings.ReplaceAll(document, "ID", s.URL+r.URL.Path)))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestClientsCanDescribeThemselves(t *testing.T) {
	host := documents(t, map[string]string{
		"/gone":      `{"client_id":"ID","redirect_uris":["` + callback + `"]}`,
		"/client":    `{"client_id":"ID","client_name":"c","redirect_uris":["` + callback + `"]}`,
		"/liar":      `{"client_id":"https://other.example/client","redirect_uris":["` + callback + `"]}`,
		"/elsewhere": `{"client_id":"ID","redirect_uris":["http://127.0.0.1:1/other"]}`,
		"/page":      `<html>`,
	})
	h := open(t, func(c *scalekitenv.Config) { c.DocumentClient = host.Client() })
	for path, want := range map[string]string{
		"/client": "", "/liar": "invalid_client_metadata_url", "/elsewhere": "invalid_client_metadata_url",
		"/page": "invalid_client_metadata_url", "/gone": "invalid_client_metadata_url", "/missing": "invalid_client_metadata_url",
	} {
		a := h.authorize(host.URL + path)
		if want == "" {
			_, q := a.location(t)
			token := h.post("/resources/R/oauth/token", exchange(host.URL+path, q.Get("code"))).text(t, "access_token")
			if _, claims := h.decode(token); claims["client_id"] != host.URL+path || claims["sub"] != scalekitenv.User {
				t.Errorf("%s: %v", path, claims)
			}
		} else if a.StatusCode != http.StatusBadRequest || a.text(t, "error") != want {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	t.Run("unless it is switched off", func(t *testing.T) {
		h.DisableClientDocuments()
		if a := h.authorize(host.URL + "/client"); a.StatusCode != http.StatusBadRequest || a.text(t, "error") != "invalid_client_metadata_url" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if supported := h.get(appended).json(t)["client_id_metadata_document_supported"]; supported != false {
			t.Errorf("the metadata say %v", supported)
		}
	})
	t.Run("unless the host is down", func(t *testing.T) {
		gone := documents(t, nil)
		gone.Close()
		h := open(t, func(c *scalekitenv.Config) { c.DocumentClient = gone.Client() })
		if a := h.authorize(gone.URL + "/client"); a.text(t, "error") != "invalid_client_metadata_url" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
	t.Run("unless the test hands in no client", func(t *testing.T) {
		if a := open(t).authorize(host.URL + "/client"); a.text(t, "error") != "invalid_client_metadata_url" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
}

func TestOnlyClientsOfTheResourceCanSignIn(t *testing.T) {
	h := open(t, func(c *scalekitenv.Config) {
		c.Clients = []scalekitenv.Client{{ID: "skc_5", Secret: "s", RedirectURIs: []string{callback}}, {ID: "m2m_5", RedirectURIs: []string{callback}}}
	})
	other := h.AddResource("http://localhost:3003/mcp")
	for id, want := range map[string]string{
		"m2m_5": "", "m2m_6": "invalid_client", other.Register(callback).ID: "invalid_client", "skc_5": "invalid_client_metadata_url",
		h.OrgClient().ID: "invalid_client_metadata_url", h.ResourceID(): "invalid_client_metadata_url", "": "invalid_client_metadata_url",
		"http://insecure.example/client": "invalid_client_metadata_url",
	} {
		a := h.authorize(id)
		if want == "" {
			a.location(t)
			continue
		}
		if a.StatusCode != http.StatusBadRequest || a.text(t, "error") != want {
			t.Errorf("%q: %d %s, want %s", id, a.StatusCode, a.body, want)
		}
	}
}

func TestSecretsAreFresh(t *testing.T) {
	one, two := open(t), open(t)
	for name, pair := range map[string][2]scalekitenv.Client{
		"machine":      {one.MachineClient(), two.MachineClient()},
		"organisation": {one.OrgClient(), two.OrgClient()},
		"environment":  {one.EnvironmentClient(), two.EnvironmentClient()},
	} {
		if len(pair[0].Secret) < 20 || pair[0].Secret == pair[1].Secret {
			t.Errorf("%s: the secrets are guessable", name)
		}
	}
	body, err := json.Marshal(one.get(appended).json(t))
	if err != nil || strings.Contains(string(body), one.MachineClient().Secret) {
		t.Errorf("metadata with a secret, %v", err)
	}
}
