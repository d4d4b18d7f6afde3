package configs

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/providers"
)

// OTLP is what the standard variables of OpenTelemetry say: how this program is called, and where its metrics and
// traces are sent.
type OTLP struct {
	// Resource are the attributes of this process: OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
	Resource map[string]string
	// Traces and Metrics are collectors. The zero value means that the setting in section "telemetry" is not otlp.
	Traces, Metrics Collector
	// Temporality is that of metrics: cumulative, delta or lowmemory.
	Temporality string
	// MetricsInterval and MetricsTimeout are those of the export of metrics.
	MetricsInterval, MetricsTimeout time.Duration
	// SpanDelay, SpanTimeout, SpanQueue and SpanBatch are those of the export of spans.
	SpanDelay, SpanTimeout time.Duration
	SpanQueue, SpanBatch   int
	// KeyFiles are the private keys of client certificates.
	KeyFiles []SecretFile
}

// Collector is where one kind of telemetry is sent, by OTLP over HTTP.
type Collector struct {
	URL string
	// Headers are sent with each request. The values may be secret.
	Headers map[string]providers.Secret
	// Timeout bounds one export, repetitions included.
	Timeout time.Duration
	Gzip    bool
	// TLS is nil for the defaults of crypto/tls.
	TLS *tls.Config `json:"-"` // it may have a private key
}

// equals reports whether both have the same values, apart from the content of certificates.
func (o OTLP) equals(other OTLP) bool {
	for _, one := range []*OTLP{&o, &other} {
		one.Traces.TLS, one.Metrics.TLS = nil, nil
	}
	return reflect.DeepEqual(o, other)
}

// otlpVariables are the variables in reports.
const otlpVariables = "OTEL_*"

const otlpPrefix = "OTEL_EXPORTER_OTLP_"

// otlpReader reads variables for the kinds of telemetry that are on.
type otlpReader struct {
	variables []variable
	readFile  readFileFunc
	problems  Problems
	keyFiles  []SecretFile
}

// readOTLP reads the variables, as far as telemetry uses them. Of a variable in .env and in the environment, the latter
// counts.
func readOTLP(variables []variable, t Telemetry, read readFileFunc) (OTLP, Problems) {
	if !t.IsOn() {
		return OTLP{}, nil
	}
	r := &otlpReader{variables: variables, readFile: read}
	r.reject(t)
	o := OTLP{Resource: r.resource()}
	if t.Traces == TelemetryOTLP {
		o.Traces = r.collector("TRACES")
		o.SpanDelay = r.milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5*time.Second)
		o.SpanTimeout = r.milliseconds("OTEL_BSP_EXPORT_TIMEOUT", 30*time.Second)
		o.SpanQueue = r.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
		o.SpanBatch = min(r.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), o.SpanQueue)
	}
	if t.Metrics == TelemetryOTLP {
		o.Metrics = r.collector("METRICS")
		o.Temporality = r.oneOf(otlpPrefix+"METRICS_TEMPORALITY_PREFERENCE", "cumulative", "delta", "lowmemory")
		o.MetricsInterval = r.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", time.Minute)
		o.MetricsTimeout = r.milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", 30*time.Second)
	}
	o.KeyFiles = r.keyFiles
	return o, r.problems
}

// find returns a variable; an empty one counts as unset.
func (r *otlpReader) find(name string) (variable, bool) { return legacyVariable(r.variables, name) }

// findFor returns the variable of one kind of telemetry, or else the one of all.
func (r *otlpReader) findFor(signal, name string) (v variable, isOwn, isSet bool) {
	if v, isSet = r.find(otlpPrefix + signal + "_" + name); isSet {
		return v, true, true
	}
	v, isSet = r.find(otlpPrefix + name)
	return v, false, isSet
}

// add adds a problem of a variable, once.
func (r *otlpReader) add(p Problem) {
	if !slices.ContainsFunc(r.problems, func(other Problem) bool { return other.Key == p.Key }) {
		r.problems = append(r.problems, p)
	}
}

func (r *otlpReader) addInvalid(v variable, reason, fix string) {
	r.add(Problem{Key: v.name, Value: quoteValue(v.value), Origin: v.origin, Code: providers.CodeInvalidValue,
		Reason: reason, Fix: fix})
}

// maxOTLPNumber bounds durations in milliseconds, and sizes.
const maxOTLPNumber = 10_000_000

func (r *otlpReader) number(name string, otherwise int) int {
	v, isSet := r.find(name)
	if !isSet {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(v.value))
	if err != nil || n < 1 || n > maxOTLPNumber {
		r.addInvalid(v, "it is not a number from 1 to "+strconv.Itoa(maxOTLPNumber),
			"use a number such as "+strconv.Itoa(otherwise)+", or unset it")
		return otherwise
	}
	return n
}

func (r *otlpReader) milliseconds(name string, otherwise time.Duration) time.Duration {
	return time.Duration(r.number(name, int(otherwise.Milliseconds()))) * time.Millisecond
}

// oneOf returns the value in lower case. The first of values is the default.
func (r *otlpReader) oneOf(name string, values ...string) string {
	v, isSet := r.find(name)
	if !isSet {
		return values[0]
	}
	value := strings.ToLower(strings.TrimSpace(v.value))
	if !slices.Contains(values, value) {
		r.add(Problem{Key: v.name, Value: quoteValue(v.value), Origin: v.origin, Code: providers.CodeUnknownValue,
			Reason: "it is not one of " + strings.Join(values, ", "), Fix: "use " + values[0] + ", or unset it"})
		return values[0]
	}
	return value
}

// maxResourceBytes bounds OTEL_RESOURCE_ATTRIBUTES, which is part of every export.
const maxResourceBytes = 8 << 10

func (r *otlpReader) resource() map[string]string {
	all := map[string]string{"service.name": "gatehouse"}
	if v, isSet := r.find("OTEL_RESOURCE_ATTRIBUTES"); isSet {
		list, ok := parseKeyValues(v.value)
		if !ok || len(v.value) > maxResourceBytes {
			r.addInvalid(v, "it is not a list of key=value with commas between them, or longer than 8 KiB",
				"write it as in deployment.environment.name=production,host.name=one")
		}
		maps.Copy(all, list)
	}
	if v, isSet := r.find("OTEL_SERVICE_NAME"); isSet {
		all["service.name"] = v.value
	}
	return all
}

// parseKeyValues parses a list of key=value, whose values are percent-encoded (W3C Baggage, section 3.3.1).
func parseKeyValues(text string) (list map[string]string, ok bool) {
	list = map[string]string{}
	for entry := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		key, value, found := strings.Cut(entry, "=")
		key = strings.TrimSpace(key)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || key == "" || err != nil {
			return nil, false
		}
		list[key] = value
	}
	return list, true
}

// collector reads the variables of one kind of telemetry.
func (r *otlpReader) collector(signal string) Collector {
	c := Collector{URL: r.endpoint(signal), Headers: r.headers(signal), Timeout: 10 * time.Second, TLS: r.tls(signal)}
	if v, _, isSet := r.findFor(signal, "TIMEOUT"); isSet {
		c.Timeout = r.milliseconds(v.name, c.Timeout)
	}
	if v, _, isSet := r.findFor(signal, "COMPRESSION"); isSet {
		c.Gzip = r.oneOf(v.name, "none", "gzip") == "gzip"
	}
	return c
}

// endpoint returns the URL of one kind of telemetry. A path is added only to the address of all kinds.
func (r *otlpReader) endpoint(signal string) string {
	path := "/v1/" + strings.ToLower(signal)
	v, isOwn, isSet := r.findFor(signal, "ENDPOINT")
	if !isSet {
		return "http://localhost:4318" + path
	}
	u, err := url.Parse(v.value)
	isHTTP := err == nil && (u.Scheme == "http" || u.Scheme == "https")
	switch {
	case !isHTTP || u.Hostname() == "":
		r.addInvalid(v, "it is not the URL of a collector", "write it as in http://localhost:4318")
	case u.User != nil:
		r.addInvalid(v, "it has a user", "put credentials into "+otlpPrefix+"HEADERS")
	case u.RawQuery != "" || u.Fragment != "":
		r.addInvalid(v, "it has a query or a fragment", "write it as in http://localhost:4318")
	case isOwn && u.Path == "":
		return v.value + "/"
	case isOwn:
		return v.value
	default:
		return u.JoinPath(path).String()
	}
	return ""
}

func (r *otlpReader) headers(signal string) map[string]providers.Secret {
	v, _, isSet := r.findFor(signal, "HEADERS")
	if !isSet {
		return nil
	}
	list, ok := parseKeyValues(v.value)
	headers := map[string]providers.Secret{}
	for name, value := range list {
		ok = ok && isFieldName(name) && !strings.ContainsFunc(value, isControl)
		headers[name] = providers.Secret(value)
	}
	if !ok {
		r.add(Problem{Key: v.name, Value: redacted, Origin: v.origin, Code: providers.CodeInvalidValue,
			Reason: "it is not a list of name=value with commas between them, percent-encoded",
			Fix:    "write it as in api-key=secret,tenant=one; a space in a value is %20"})
	}
	return headers
}

// isFieldName reports whether s is the name of a header field (RFC 9110, section 5.1) that a client may set.
func isFieldName(s string) bool {
	isOther := func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	}
	switch strings.ToLower(s) {
	case "", "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection":
		return false
	}
	return !strings.ContainsFunc(s, isOther)
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// tls reads the files with certificates.
func (r *otlpReader) tls(signal string) *tls.Config {
	authority, _, hasAuthority := r.findFor(signal, "CERTIFICATE")
	certificate, _, hasCertificate := r.findFor(signal, "CLIENT_CERTIFICATE")
	key, _, hasKey := r.findFor(signal, "CLIENT_KEY")
	if !hasAuthority && !hasCertificate && !hasKey {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if hasAuthority {
		config.RootCAs = x509.NewCertPool()
		text, err := r.readFile(authority.value)
		switch {
		case err != nil:
			r.addUnreadable(authority, fileReason(authority.value, err))
		case !config.RootCAs.AppendCertsFromPEM(text):
			r.addUnreadable(authority, "it has no certificate in PEM form")
		}
	}
	switch {
	case hasCertificate && hasKey:
		certificateText, err := r.readFile(certificate.value)
		keyText, keyErr := r.readFile(key.value)
		pair, pairErr := tls.X509KeyPair(certificateText, keyText)
		if err != nil || keyErr != nil || pairErr != nil {
			r.addUnreadable(certificate, "with "+key.name+" it is not a certificate and its key in PEM form, "+
				"or a file cannot be read")
		}
		config.Certificates = []tls.Certificate{pair}
		if file := (SecretFile{key.name, key.value}); !slices.Contains(r.keyFiles, file) { // metrics and traces may share it
			r.keyFiles = append(r.keyFiles, file)
		}
	case hasCertificate:
		r.addIncomplete(certificate, strings.TrimSuffix(certificate.name, "CERTIFICATE")+"KEY")
	case hasKey:
		r.addIncomplete(key, strings.TrimSuffix(key.name, "KEY")+"CERTIFICATE")
	}
	return config
}

func (r *otlpReader) addUnreadable(v variable, reason string) {
	r.add(Problem{Key: v.name, Value: quoteValue(v.value), Origin: v.origin, Code: providers.CodeUnreadableFile,
		Reason: reason, Fix: "name a file in PEM form that the user who runs gatehouse can read"})
}

func (r *otlpReader) addIncomplete(v variable, missing string) {
	r.add(Problem{Key: v.name, Value: quoteValue(v.value), Origin: v.origin, Code: providers.CodeMissing,
		Reason: missing + " is not set", Fix: "set both, or neither"})
}
