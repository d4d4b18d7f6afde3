package main

import (
	"maps"
	"net/http"
	"testing"

	"gatehouse/configs"
	"gatehouse/providers/providertest"
)

// loaded returns the configuration of srv with changes.
func (srv *testServer) loaded(t testing.TB, changes map[string]string) *configs.Config {
	t.Helper()
	flags := maps.Clone(srv.flags)
	maps.Copy(flags, changes)
	cfg, err := configs.Load(configs.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// reloaded loads the settings of srv with changes, and reloads it.
func (srv *testServer) reloaded(t testing.TB, changes map[string]string) ([]configs.Change, error) {
	t.Helper()
	return srv.Reload(t.Context(), srv.loaded(t, changes))
}

func TestReload_ChangesScopesForTheNextRequest(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	srv := startServer(t, oidcSettings(authority, nil))
	waitUntilReady(t, srv.origin())
	token := authority.Token(srv.url, map[string]any{"scope": "mcp:use greet:read"})
	session := srv.openSession(t, token)
	call := func() (stateless, inSession int) {
		body, header := callModern("greet", `{"name":"Ada"}`)
		stateless = send(t, http.MethodPost, srv.url, token, body, header).status
		body, header = callLegacy("greet", `{"name":"Ada"}`, session)
		return stateless, send(t, http.MethodPost, srv.url, token, body, header).status
	}
	if a, b := call(); a != http.StatusOK || b != http.StatusOK {
		t.Fatalf("before: %d, %d", a, b)
	}
	provider := srv.Provider()
	if _, err := srv.reloaded(t, map[string]string{"scopes.required": "mcp:other", "scopes.initial": ""}); err != nil {
		t.Fatal(err)
	}
	if a, b := call(); a != http.StatusForbidden || b != http.StatusForbidden {
		t.Errorf("with another required scope: %d, %d", a, b)
	}
	if srv.Provider() == provider {
		t.Error("the metadata of the provider has the old scopes")
	}
	if _, err := srv.reloaded(t, nil); err != nil {
		t.Fatal(err)
	}
	if a, b := call(); a != http.StatusOK || b != http.StatusOK {
		t.Errorf("with the first settings again: %d, %d", a, b)
	}
	if number, _ := srv.Generation(); number != 3 {
		t.Errorf("generation %d, want 3", number)
	}
}
