package server

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/labstack/echo/v4"
)

// Without an audit log, the chain has no step for it: it can cost nothing.
func TestRecordAudit_OffIsNoStep(t *testing.T) {
	next := func(echo.Context) error { return nil }
	step := recordAudit(Config{})(next)
	if reflect.ValueOf(step).Pointer() != reflect.ValueOf(next).Pointer() {
		t.Error("there is a step without an audit log")
	}
	ctx := httptest.NewRequest(http.MethodPost, "/mcp", nil).Context()
	if BeginCall(ctx) != nil || DetachOperation(ctx) != nil {
		t.Error("without an audit log, every call may run, and no end is recorded")
	}
}
