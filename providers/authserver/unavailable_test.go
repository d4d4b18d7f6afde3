package authserver

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// The text of an error that is none of OAuth is for the log.
func TestInternalErrorsHaveNoText(t *testing.T) {
	i, err := New(Config{Issuer: "http://localhost:1", Resources: []string{"http://localhost:1/mcp"},
		SigningAlgorithm: "ES256"})
	if err != nil {
		t.Fatal(err)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/token", nil)
	op.WriteError(w, r, i.refuseGrant(t.Context(), EventExchange, "code", opClient{&client{}}, nil,
		errors.New("/var/lib: no space")), nil)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "space") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}
