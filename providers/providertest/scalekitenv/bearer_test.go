package scalekitenv_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUserinfoIsForUsers(t *testing.T) {
	h := open(t)
	if diff := cmp.Diff(map[string]any{"sub": "usr_1", "email": "usr_1@example.com"}, h.getAs(h.Token(), "/userinfo").json(t)); diff != "" {
		t.Error(diff)
	}
	for name, a := range map[string]answer{
		"a machine": h.getAs(h.MachineToken(), "/userinfo"), "a stranger": h.getAs("x", "/userinfo"), "nobody": h.get("/userinfo"),
	} {
		if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
}
