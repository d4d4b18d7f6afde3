package server

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"
	"weak"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

// A session lives for hours. Its end needs neither the request that opened it, nor the caller's identity, which holds
// the claims of the token.
func TestBeginSession_RetainsNoRequest(t *testing.T) {
	signing, _, err := audit.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	settings := audit.DefaultSettings()
	settings.Dir, settings.SigningKey = t.TempDir(), providers.Secret(signing)
	log, err := audit.Open(settings, "test", "digest", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")
	telemetry, err := NewTelemetry(meter, nil, KnownNames{})
	if err != nil {
		t.Fatal(err)
	}
	var state weak.Pointer[requestState]
	var identity weak.Pointer[providers.Identity]
	end := func() func(SessionEnd) {
		id := &providers.Identity{Issuer: "https://issuer.example", Subject: "alice"}
		s := &requestState{
			Context: context.Background(), identity: id, audited: &auditedRequest{log: log},
			measured: &measuredRequest{telemetry: telemetry},
		}
		state, identity = weak.Make(s), weak.Make(id)
		return BeginSession(s, "session", "2025-11-25")
	}()
	for begin := time.Now(); state.Value() != nil || identity.Value() != nil; runtime.GC() {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("the request or the identity stays in memory")
		}
	}
	before := log.Status().Sequence
	end(SessionFailed)
	for begin := time.Now(); log.Status().Sequence == before; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("the end has no record")
		}
	}
}
