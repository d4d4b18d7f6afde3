package server

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"testing"
	"time"
	"weak"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

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

// A version that is not known is no label, and only a session that failed has an error.type.
func TestBeginSession_LabelsAreBounded(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")
	telemetry, err := NewTelemetry(meter, nil, KnownNames{Versions: []string{"2025-11-25"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		s := &requestState{Context: context.Background(), identity: &providers.Identity{Subject: "alice"},
			measured: &measuredRequest{telemetry: telemetry}}
		BeginSession(s, "session", "2025-11-25")(SessionDeleted)
		BeginSession(s, "session", fmt.Sprintf("canary-%d", i))("timeout")
		BeginSession(s, "session", "2025-11-25")(SessionFailed)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, p := range data.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints {
		version, _ := p.Attributes.Value("mcp.protocol.version")
		failure, _ := p.Attributes.Value("error.type")
		got[version.AsString()+" "+failure.AsString()] += p.Count
	}
	if want := map[string]uint64{"2025-11-25 ": 50, " ": 50, "2025-11-25 _OTHER": 50}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
