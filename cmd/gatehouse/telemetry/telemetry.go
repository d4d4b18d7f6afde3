// Package telemetry exports metrics and traces by OpenTelemetry. It is the only one that knows the SDK and the
// exporters: all others record through the interfaces of OpenTelemetry's API.
//
// No provider is registered globally. Libraries that start spans through the global one, such as zitadel/oidc, would
// export what is theirs to say.
package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/configs"
)

// scope is the name of the instruments and spans of this program.
const scope = "gatehouse"

// Telemetry is where metrics and spans are recorded. Shutdown must be called.
type Telemetry struct {
	// Meter is nil without metrics, and Tracer without traces.
	Meter  metric.Meter
	Tracer trace.Tracer
	// Metrics are what Prometheus reads; nil if telemetry.metrics is not prometheus.
	Metrics prometheus.Gatherer

	shutdowns []func(context.Context) error
	closes    []func()
}

// New starts the exporters of cfg. version is that of the program. What fails later, such as an export, is reported to
// the error handler of OpenTelemetry: see [NewErrorHandler].
func New(cfg *configs.Config, version string) (*Telemetry, error) {
	t := &Telemetry{}
	if !cfg.Telemetry.IsOn() {
		return t, nil
	}
	described, err := describe(cfg.OTLP.Resource, version)
	if err != nil {
		return nil, err
	}
	if cfg.Telemetry.Traces == configs.TelemetryOTLP {
		t.startTraces(cfg, described)
	}
	if cfg.Telemetry.Metrics != configs.TelemetryOff {
		err = t.startMetrics(cfg, described)
	}
	return t, err
}

// describe returns the attributes of this process. The instance distinguishes replicas, whose metrics a collector would
// mix otherwise.
func describe(attributes map[string]string, version string) (*resource.Resource, error) {
	all := map[string]string{
		"service.name": scope, "service.version": version, "service.instance.id": rand.Text(),
	}
	maps.Copy(all, attributes)
	var list []attribute.KeyValue
	for _, key := range slices.Sorted(maps.Keys(all)) {
		list = append(list, attribute.String(key, all[key]))
	}
	return resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithAttributes(list...))
}

func (t *Telemetry) startTraces(cfg *configs.Config, described *resource.Resource) {
	client := newCollector(cfg.OTLP.Traces, "spans")
	var batch []sdktrace.BatchSpanProcessorOption
	if o := cfg.OTLP; o.SpanQueue > 0 {
		batch = []sdktrace.BatchSpanProcessorOption{
			sdktrace.WithBatchTimeout(o.SpanDelay), sdktrace.WithExportTimeout(o.SpanTimeout),
			sdktrace.WithMaxQueueSize(o.SpanQueue), sdktrace.WithMaxExportBatchSize(o.SpanBatch),
		}
	}
	exporter := otlptrace.NewUnstarted(spanClient{client})
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(described), sdktrace.WithBatcher(exporter, batch...),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.Telemetry.Sample))))
	t.Tracer = provider.Tracer(scope)
	t.shutdowns, t.closes = append(t.shutdowns, provider.Shutdown), append(t.closes, client.close)
}

// maxSeries bounds the series of one instrument. Attributes have few values, so that it is never reached.
const maxSeries = 2_000

func (t *Telemetry) startMetrics(cfg *configs.Config, described *resource.Resource) error {
	var reader sdkmetric.Reader
	if cfg.Telemetry.Metrics == configs.TelemetryPrometheus {
		registry := prometheus.NewRegistry()
		exporter, err := otelprometheus.New(
			otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
		if err != nil {
			return err
		}
		err = errors.Join(
			registry.Register(collectors.NewGoCollector()),
			registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
		if err != nil {
			return err
		}
		reader, t.Metrics = exporter, registry
	} else {
		client := newCollector(cfg.OTLP.Metrics, "metrics")
		var interval []sdkmetric.PeriodicReaderOption
		if o := cfg.OTLP; o.MetricsInterval > 0 {
			interval = []sdkmetric.PeriodicReaderOption{
				sdkmetric.WithInterval(o.MetricsInterval), sdkmetric.WithTimeout(o.MetricsTimeout),
			}
		}
		reader = sdkmetric.NewPeriodicReader(&metricExporter{client, cfg.OTLP.Temporality}, interval...)
		t.closes = append(t.closes, client.close)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithResource(described), sdkmetric.WithReader(reader),
		sdkmetric.WithCardinalityLimit(maxSeries), sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter))
	t.Meter = provider.Meter(scope)
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	return nil
}

// Shutdown exports what is left, metrics and traces at the same time, and ends the exporters. It takes no longer than
// ctx, whatever the collector does.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	failed := make([]error, len(t.shutdowns))
	var ending sync.WaitGroup
	for i, shutdown := range t.shutdowns {
		ending.Go(func() { failed[i] = shutdown(ctx) })
	}
	ending.Wait()
	for _, closeClient := range t.closes {
		closeClient()
	}
	return errors.Join(failed...)
}
