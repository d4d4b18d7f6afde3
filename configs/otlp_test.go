package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers"
)

// otlpOn sends metrics and traces to a collector.
func otlpOn() map[string]string {
	return map[string]string{"telemetry.metrics": "otlp", "telemetry.traces": "otlp"}
}

// The variables of all kinds and those of one kind mean what the specification of OpenTelemetry says (OTLP exporter,
// Endpoint URLs for OTLP/HTTP).
func TestOTLP_ReadsStandardVariables(t *testing.T) {
	const all = "OTEL_EXPORTER_OTLP_"
	for name, c := range map[string]struct {
		environ []string
		want    func(*OTLP)
	}{
		"nothing is set": {nil, func(*OTLP) {}},
		"an endpoint of all kinds gets a path": {
			[]string{all + "ENDPOINT=https://collector.example:4318/otlp/"},
			func(o *OTLP) {
				o.Traces.URL = "https://collector.example:4318/otlp/v1/traces"
				o.Metrics.URL = "https://collector.example:4318/otlp/v1/metrics"
			},
		},
		"one of its own is used as it is": {
			[]string{
				all + "ENDPOINT=http://a.example", all + "TRACES_ENDPOINT=http://b.example/x",
				all + "METRICS_ENDPOINT=http://c.example",
			},
			func(o *OTLP) { o.Traces.URL, o.Metrics.URL = "http://b.example/x", "http://c.example/" },
		},
		"headers are percent-encoded, and those of one kind replace all": {
			[]string{all + "HEADERS=api-key=a%20b, x-tenant = one", all + "TRACES_HEADERS=other=1"},
			func(o *OTLP) {
				o.Metrics.Headers = map[string]providers.Secret{"api-key": "a b", "x-tenant": "one"}
				o.Traces.Headers = map[string]providers.Secret{"other": "1"}
			},
		},
		"time limit and compression": {
			[]string{
				all + "TIMEOUT=2500", all + "COMPRESSION=gzip", all + "METRICS_TIMEOUT=1", all + "METRICS_COMPRESSION=none",
			},
			func(o *OTLP) {
				o.Traces.Timeout, o.Traces.Gzip, o.Metrics.Timeout = 2500*time.Millisecond, true, time.Millisecond
			},
		},
		"what this program is": {
			[]string{"OTEL_SERVICE_NAME=tools", "OTEL_RESOURCE_ATTRIBUTES=service.name=x,deployment.environment.name=a%2Cb,"},
			func(o *OTLP) {
				o.Resource = map[string]string{"service.name": "tools", "deployment.environment.name": "a,b"}
			},
		},
		"intervals and queues": {
			[]string{"OTEL_METRIC_EXPORT_INTERVAL=1000", "OTEL_BSP_MAX_QUEUE_SIZE=100", "OTEL_BSP_SCHEDULE_DELAY=20"},
			func(o *OTLP) {
				o.MetricsInterval, o.SpanQueue, o.SpanBatch, o.SpanDelay = time.Second, 100, 100, 20*time.Millisecond
			},
		},
		"temporality": {
			[]string{all + "METRICS_TEMPORALITY_PREFERENCE=Delta"}, func(o *OTLP) { o.Temporality = "delta" },
		},
		"values that say what is done anyway": {
			[]string{all + "PROTOCOL=http/protobuf", "OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=otlp",
				"OTEL_PROPAGATORS=tracecontext, baggage", "OTEL_SDK_DISABLED=false", "OTEL_LOGS_EXPORTER=otlp"},
			func(*OTLP) {},
		},
		"empty variables count as unset": {
			[]string{all + "PROTOCOL=", all + "ENDPOINT=", "OTEL_TRACES_SAMPLER="}, func(*OTLP) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := OTLP{
				Resource:    map[string]string{"service.name": "gatehouse"},
				Traces:      Collector{URL: "http://localhost:4318/v1/traces", Timeout: 10 * time.Second},
				Metrics:     Collector{URL: "http://localhost:4318/v1/metrics", Timeout: 10 * time.Second},
				Temporality: "cumulative", MetricsInterval: time.Minute, MetricsTimeout: 30 * time.Second,
				SpanDelay: 5 * time.Second, SpanTimeout: 30 * time.Second, SpanQueue: 2048, SpanBatch: 512,
			}
			c.want(&want)
			got := mustLoad(t, Sources{Environ: c.environ, Flags: otlpOn()}).OTLP
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What would be ignored is refused, with the setting to use, as far as it would have an effect. No report shows the
// value of a header.
func TestOTLP_RefusesWhatItDoesNotDo(t *testing.T) {
	const all = "OTEL_EXPORTER_OTLP_"
	for variable, fix := range map[string]string{
		all + "PROTOCOL=grpc":                     "http/protobuf",
		all + "TRACES_PROTOCOL=http/json":         "http/protobuf",
		all + "METRICS_PROTOCOL=grpc":             "http/protobuf",
		"OTEL_TRACES_SAMPLER=always_on":           "telemetry.sample",
		"OTEL_TRACES_SAMPLER_ARG=0.5":             "telemetry.sample",
		"OTEL_TRACES_EXPORTER=zipkin":             "telemetry.traces",
		"OTEL_METRICS_EXPORTER=prometheus":        "telemetry.metrics",
		"OTEL_PROPAGATORS=b3":                     "tracecontext",
		"OTEL_SDK_DISABLED=true":                  "telemetry.metrics",
		"OTEL_METRICS_EXEMPLAR_FILTER=always_on":  "always_off",
		"OTEL_EXPERIMENTAL_CONFIG_FILE=otel.yaml": "telemetry.*",
		"OTEL_CONFIG_FILE=otel.yaml":              "telemetry.*",
		all + "METRICS_DEFAULT_HISTOGRAM_AGGREGATION=base2_exponential_bucket_histogram": "explicit",
		all + "ENDPOINT=localhost:4318":                           "http://localhost:4318",
		all + "ENDPOINT=unix:///run/otel.sock":                    "http://localhost:4318",
		all + "ENDPOINT=http://":                                  "http://localhost:4318",
		all + "ENDPOINT=http://u:hunter2@host.example":            "HEADERS",
		all + "TRACES_ENDPOINT=http://host.example/?key=hunter2":  "http://localhost:4318",
		all + "HEADERS=hunter2":                                   "api-key",
		all + "HEADERS=api key=hunter2":                           "api-key",
		all + "HEADERS=a=hunter2%0d%0ab: c":                       "api-key",
		all + "METRICS_HEADERS=content-type=hunter2":              "api-key",
		all + "TIMEOUT=10s":                                       "10000",
		all + "TIMEOUT=0":                                         "10000",
		all + "COMPRESSION=zstd":                                  "none",
		all + "METRICS_TEMPORALITY_PREFERENCE=sometimes":          "cumulative",
		all + "CERTIFICATE=missing.pem":                           "PEM",
		all + "CLIENT_CERTIFICATE=missing.pem":                    "both",
		all + "TRACES_CLIENT_KEY=missing.pem":                     "both",
		"OTEL_BSP_MAX_QUEUE_SIZE=-1":                              "2048",
		"OTEL_METRIC_EXPORT_INTERVAL=soon":                        "60000",
		"OTEL_RESOURCE_ATTRIBUTES=production":                     "deployment",
		"OTEL_RESOURCE_ATTRIBUTES=a=" + strings.Repeat("x", 9000): "deployment",
	} {
		name, _, _ := strings.Cut(variable, "=")
		t.Run(variable[:min(len(variable), 60)], func(t *testing.T) {
			p := mustRefuseOne(t, Sources{Environ: []string{variable}, Flags: otlpOn()})
			if p.Key != name || p.Origin != "environment variable "+name || !strings.Contains(p.Fix, fix) || p.Value == "" {
				t.Errorf("%+v", p)
			}
			if strings.Contains(Problems{p}.Error(), canary) {
				t.Errorf("the report shows a secret: %+v", p)
			}
			// Without telemetry the variable has no effect in any case.
			mustLoad(t, Sources{Environ: []string{variable}})
		})
	}
	t.Run("a variable of the other kind", func(t *testing.T) {
		mustLoad(t, Sources{Environ: []string{all + "TRACES_PROTOCOL=grpc", "OTEL_TRACES_SAMPLER=always_off"},
			Flags: map[string]string{"telemetry.metrics": "otlp"}})
		mustLoad(t, Sources{Environ: []string{all + "METRICS_PROTOCOL=grpc"},
			Flags: map[string]string{"telemetry.traces": "otlp"}})
	})
	t.Run("the environment counts, not .env", func(t *testing.T) {
		dir := filepath.Dir(write(t, ".env", "OTEL_SERVICE_NAME=one\n"))
		got := mustLoad(t, Sources{Dir: dir, Environ: []string{"OTEL_SERVICE_NAME=two"}, Flags: otlpOn()})
		if got.OTLP.Resource["service.name"] != "two" {
			t.Errorf("%v", got.OTLP.Resource)
		}
		got = mustLoad(t, Sources{Dir: dir, Flags: otlpOn()})
		if got.OTLP.Resource["service.name"] != "one" {
			t.Errorf("%v", got.OTLP.Resource)
		}
	})
}

func TestOTLP_ReadsCertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	keyFile := write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	c := mustLoad(t, Sources{Flags: otlpOn(), Environ: []string{
		"OTEL_EXPORTER_OTLP_CERTIFICATE=" + certificate,
		"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE=" + certificate, "OTEL_EXPORTER_OTLP_CLIENT_KEY=" + keyFile,
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + certificate,
	}})
	for name, tls := range map[string]*Collector{"traces": &c.OTLP.Traces, "metrics": &c.OTLP.Metrics} {
		if tls.TLS == nil || tls.TLS.RootCAs == nil || len(tls.TLS.Certificates) != 1 {
			t.Errorf("%s: %+v", name, tls.TLS)
		}
	}
	if want := []SecretFile{{"OTEL_EXPORTER_OTLP_CLIENT_KEY", keyFile}}; !slices.Equal(c.SecretFiles(), want) {
		t.Errorf("the files with secrets are %v", c.SecretFiles())
	}
	p := mustRefuseOne(t, Sources{Flags: otlpOn(), Environ: []string{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + keyFile}})
	if p.Code != providers.CodeUnreadableFile {
		t.Errorf("a key as certificate: %+v", p)
	}
}

// A configuration prints no header.
func TestConfig_PrintsNoHeaderOfOTLP(t *testing.T) {
	c := mustLoad(t, Sources{Flags: otlpOn(), Environ: []string{"OTEL_EXPORTER_OTLP_HEADERS=api-key=" + canary}})
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format+format, c, c.OTLP.Traces); strings.Contains(text, canary) {
			t.Errorf("%s: %s", format, text)
		}
	}
	if text, err := json.Marshal(c); err != nil || strings.Contains(string(text), canary) {
		t.Errorf("%s %v", text, err)
	}
}
