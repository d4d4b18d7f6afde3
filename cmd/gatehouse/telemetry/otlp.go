package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// spanClient is the transport of otlptrace.
type spanClient struct{ collector *collector }

// Start implements otlptrace.Client.
func (spanClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (spanClient) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace.Client. TracesData is encoded like ExportTraceServiceRequest, whose package links
// gRPC.
func (c spanClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	return c.collector.send(ctx, &tracepb.TracesData{ResourceSpans: spans})
}

// metricExporter is the exporter of metrics by OTLP. It knows the kinds of instruments that this program has.
type metricExporter struct {
	collector *collector
	// temporality is that of the configuration: cumulative, delta or lowmemory.
	temporality string
}

// Temporality implements sdkmetric.Exporter (OpenTelemetry, Metrics Exporter - OTLP, Additional Environment Variable
// Configuration).
func (e *metricExporter) Temporality(kind sdkmetric.InstrumentKind) metricdata.Temporality {
	isSum := kind == sdkmetric.InstrumentKindCounter || kind == sdkmetric.InstrumentKindHistogram
	isDelta := e.temporality == "lowmemory" && isSum ||
		e.temporality == "delta" && (isSum || kind == sdkmetric.InstrumentKindObservableCounter)
	if isDelta {
		return metricdata.DeltaTemporality
	}
	return metricdata.CumulativeTemporality
}

// Aggregation implements sdkmetric.Exporter.
func (*metricExporter) Aggregation(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(kind)
}

// ForceFlush implements sdkmetric.Exporter: nothing is held back.
func (*metricExporter) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdkmetric.Exporter.
func (*metricExporter) Shutdown(context.Context) error { return nil }

// Export implements sdkmetric.Exporter. MetricsData is encoded like ExportMetricsServiceRequest.
func (e *metricExporter) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	all := &metricspb.ResourceMetrics{
		Resource:  &resourcepb.Resource{Attributes: attributesOf(data.Resource.Set())},
		SchemaUrl: data.Resource.SchemaURL(),
	}
	for _, one := range data.ScopeMetrics {
		metrics := &metricspb.ScopeMetrics{Scope: &commonpb.InstrumentationScope{Name: one.Scope.Name}}
		for _, m := range one.Metrics {
			converted, err := metricOf(m)
			if err != nil {
				return err
			}
			metrics.Metrics = append(metrics.Metrics, converted)
		}
		all.ScopeMetrics = append(all.ScopeMetrics, metrics)
	}
	return e.collector.send(ctx, &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{all}})
}

func metricOf(m metricdata.Metrics) (*metricspb.Metric, error) {
	out := &metricspb.Metric{Name: m.Name, Description: m.Description, Unit: m.Unit}
	switch data := m.Data.(type) {
	case metricdata.Gauge[int64]:
		out.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: numbersOf(data.DataPoints)}}
	case metricdata.Gauge[float64]:
		out.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: numbersOf(data.DataPoints)}}
	case metricdata.Sum[int64]:
		out.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{DataPoints: numbersOf(data.DataPoints),
			AggregationTemporality: temporalityOf(data.Temporality), IsMonotonic: data.IsMonotonic}}
	case metricdata.Sum[float64]:
		out.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{DataPoints: numbersOf(data.DataPoints),
			AggregationTemporality: temporalityOf(data.Temporality), IsMonotonic: data.IsMonotonic}}
	case metricdata.Histogram[float64]:
		out.Data = &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{DataPoints: histogramsOf(data.DataPoints),
			AggregationTemporality: temporalityOf(data.Temporality)}}
	default:
		return nil, fmt.Errorf("metric %s has the unknown kind %T", m.Name, m.Data)
	}
	return out, nil
}

func temporalityOf(t metricdata.Temporality) metricspb.AggregationTemporality {
	if t == metricdata.DeltaTemporality {
		return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	}
	return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
}

func numbersOf[N int64 | float64](points []metricdata.DataPoint[N]) []*metricspb.NumberDataPoint {
	var all []*metricspb.NumberDataPoint
	for _, p := range points {
		one := &metricspb.NumberDataPoint{
			Attributes: attributesOf(&p.Attributes), TimeUnixNano: uint64(p.Time.UnixNano()),
		}
		if !p.StartTime.IsZero() {
			one.StartTimeUnixNano = uint64(p.StartTime.UnixNano())
		}
		switch value := any(p.Value).(type) {
		case int64:
			one.Value = &metricspb.NumberDataPoint_AsInt{AsInt: value}
		case float64:
			one.Value = &metricspb.NumberDataPoint_AsDouble{AsDouble: value}
		}
		all = append(all, one)
	}
	return all
}

func histogramsOf(points []metricdata.HistogramDataPoint[float64]) []*metricspb.HistogramDataPoint {
	var all []*metricspb.HistogramDataPoint
	for _, p := range points {
		one := &metricspb.HistogramDataPoint{
			Attributes:        attributesOf(&p.Attributes),
			StartTimeUnixNano: uint64(p.StartTime.UnixNano()), TimeUnixNano: uint64(p.Time.UnixNano()),
			Count: p.Count, Sum: &p.Sum, BucketCounts: p.BucketCounts, ExplicitBounds: p.Bounds,
		}
		if least, ok := p.Min.Value(); ok {
			one.Min = &least
		}
		if most, ok := p.Max.Value(); ok {
			one.Max = &most
		}
		all = append(all, one)
	}
	return all
}

func attributesOf(set *attribute.Set) []*commonpb.KeyValue {
	var all []*commonpb.KeyValue
	for _, one := range set.ToSlice() {
		value := &commonpb.AnyValue{}
		switch one.Value.Type() {
		case attribute.INT64:
			value.Value = &commonpb.AnyValue_IntValue{IntValue: one.Value.AsInt64()}
		case attribute.BOOL:
			value.Value = &commonpb.AnyValue_BoolValue{BoolValue: one.Value.AsBool()}
		default:
			value.Value = &commonpb.AnyValue_StringValue{StringValue: one.Value.String()}
		}
		all = append(all, &commonpb.KeyValue{Key: string(one.Key), Value: value})
	}
	return all
}
