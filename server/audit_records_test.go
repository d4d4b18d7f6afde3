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

func TestTraceID(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	for header, want := range map[string]string{
		"00-" + id + "-b7ad6b7169203331-01":                        id,
		"00-" + id + "-b7ad6b7169203331":                           "",
		"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01":  "",
		"00-0af7651916cd43dd8448eb211c80319\"-b7ad6b7169203331-01": "",
		"": "",
	} {
		if got := traceID(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
