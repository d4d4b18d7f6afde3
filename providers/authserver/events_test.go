package authserver_test

import (
	"net/http"
	"strings"
	"testing"
)

// Operators look for one client in log and audit.
func TestEvents_NameAClientInOneWay(t *testing.T) {
	b := openBroker(t)
	id := b.registeredID(publicClient(webCallback))
	login := b.approved("client_id", id, "scope", "notes:read offline_access")
	code := wantCode(t, b, b.navigate(response(login)))
	form := b.exchange(code, "client_id", id, "redirect_uri", webCallback)
	tokens := wantTokens(t, b.post("/token", form))
	wantTokens(t, b.refresh(tokens["refresh_token"], "client_id", id))
	wantError(t, b.post("/token", form), http.StatusBadRequest, "invalid_grant") // used twice
	wantError(t, b.refresh("gr_x", "client_id", id), http.StatusBadRequest, "invalid_grant")

	kinds, names := map[string]bool{}, map[string]bool{}
	for _, e := range b.events.all {
		kinds[e.Kind], names[e.ClientID] = true, true
	}
	if short := "reg2p.…" + id[len(id)-12:]; len(names) != 1 || !names[short] {
		t.Errorf("the events name the client %v, want %q alone", names, short)
	}
	if len(kinds) != 6 {
		t.Errorf("there are events of %d kinds: %v", len(kinds), kinds)
	}
	if strings.Contains(b.log.String(), id) {
		t.Error("the log has the whole id")
	}
}
