package doctor

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// addTelemetryChecks adds a check for each kind of telemetry that is sent to a collector. They are the last: a
// collector that hangs must not take the time of what calls depend on.
func (e *examination) addTelemetryChecks() {
	for _, one := range []struct {
		name, setting string
		collector     configs.Collector
	}{
		{"traces", e.Settings.Telemetry.Traces, e.Settings.OTLP.Traces},
		{"metrics", e.Settings.Telemetry.Metrics, e.Settings.OTLP.Metrics},
	} {
		if one.setting != configs.TelemetryOTLP {
			continue
		}
		c := &collectorCheck{examination: e, collector: one.collector, signal: one.name}
		c.url, _ = url.Parse(one.collector.URL) // valid
		e.checks.add(check{
			name: "telemetry." + one.name, subject: c.url.Scheme + "://" + c.url.Host,
			expected: "the collector accepts an export without content", run: c.run,
		})
	}
}

// collectorCheck is the check of one collector. It shows neither headers nor the path, which may be secret.
type collectorCheck struct {
	*examination
	collector configs.Collector
	signal    string // traces or metrics
	url       *url.URL
}

// endpoint names the variables with the address.
func (c *collectorCheck) endpoint() string {
	return "OTEL_EXPORTER_OTLP_ENDPOINT, or " + c.ownEndpoint()
}

func (c *collectorCheck) ownEndpoint() string {
	return "OTEL_EXPORTER_OTLP_" + strings.ToUpper(c.signal) + "_ENDPOINT"
}

// The port of OTLP over gRPC, which is another protocol, and that over HTTP.
const (
	grpcPort = "4317"
	otlpPort = "4318"
)

func (c *collectorCheck) run(ctx context.Context) diagnostics.Outcome {
	ctx, cancel := context.WithTimeout(ctx, c.collector.Timeout)
	defer cancel()
	r, err := telemetry.NewEmptyExport(ctx, c.collector)
	if err != nil {
		return diagnostics.Failed("its address is not a URL", "correct "+c.endpoint())
	}
	transport := c.network.transport.Clone()
	if c.collector.TLS != nil {
		transport.TLSClientConfig = c.collector.TLS.Clone()
	}
	keepRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := (&http.Client{Transport: transport, CheckRedirect: keepRedirect}).Do(r)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxResponseBytes))
	return c.judge(ctx, answer)
}

func (c *collectorCheck) unreachable(ctx context.Context, err error) diagnostics.Outcome {
	found := token.DescribeNetworkError(err)
	switch {
	case strings.Contains(err.Error(), `malformed HTTP response "\x00\x00`): // a frame of HTTP/2 (RFC 9113, section 4.1)
		return c.wrongPort("it speaks HTTP/2 without a handshake, as gRPC does")
	case c.url.Port() == grpcPort:
		return c.wrongPort(found)
	case c.speaksTLS(ctx, c.collector.URL):
		return c.needsTLS()
	case strings.Contains(found, "plain http"):
		return diagnostics.Failed(found, "write http:// instead of https:// in "+c.endpoint())
	case strings.Contains(found, "certificate"):
		return diagnostics.Failed(found, "name the certificate of its authority in OTEL_EXPORTER_OTLP_CERTIFICATE, or "+
			"replace its certificate")
	}
	return diagnostics.Failed(found,
		"check that it runs, that it is reached from here, and the address ("+c.endpoint()+")")
}

func (c *collectorCheck) needsTLS() diagnostics.Outcome {
	return diagnostics.Failed("it speaks TLS, and its address is plain http",
		"write https:// instead of http:// in "+c.endpoint())
}

func (c *collectorCheck) wrongPort(found string) diagnostics.Outcome {
	return diagnostics.Failed(found, "use the port of OTLP over HTTP in "+c.endpoint()+": usually "+otlpPort+
		", as "+grpcPort+" is that of gRPC; enable it at the collector (receivers.otlp.protocols.http)")
}

func (c *collectorCheck) judge(ctx context.Context, answer *http.Response) diagnostics.Outcome {
	status := answer.StatusCode
	found := fmt.Sprintf("status %d", status)
	mediaType, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case status >= 200 && status < 300 && mediaType == "text/html":
		return diagnostics.Failed("a web page answers, not a collector", "correct the address ("+c.endpoint()+")")
	case status >= 200 && status < 300:
		return diagnostics.OK(found)
	case status >= 300 && status < 400:
		target := ""
		if to, err := answer.Location(); err == nil && to.Host != c.url.Host {
			target = " to " + providers.Quote(to.Scheme+"://"+to.Host)
		}
		return diagnostics.Failed(found+", a redirect"+target, "set "+c.endpoint()+" to the address behind it, if that is "+
			"the collector's: redirects are not followed, because the headers may be secret")
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return c.refused(found)
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return diagnostics.Failed(found+": it does not take "+c.signal+" at this path", "correct the path: /v1/"+c.signal+
			" is added to OTEL_EXPORTER_OTLP_ENDPOINT, and nothing to "+c.ownEndpoint()+", which is the whole address")
	case status == http.StatusBadRequest && c.speaksTLS(ctx, c.collector.URL):
		return c.needsTLS()
	case status == http.StatusUnsupportedMediaType, status == http.StatusBadRequest:
		compressed := ""
		if c.collector.Gzip {
			compressed = ", and without OTEL_EXPORTER_OTLP_COMPRESSION=gzip if it does not know that"
		}
		return diagnostics.Failed(found+": it does not take OTLP in protobuf",
			"send it to a receiver of OTLP over HTTP ("+c.endpoint()+")"+compressed)
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusServiceUnavailable,
		status == http.StatusGatewayTimeout: // OTLP, Retryable Response Codes
		return diagnostics.Warning(found+": it is not available now", "run this command again later; if it stays, look "+
			"at the collector and at what is in front of it")
	}
	return diagnostics.Failed(found, "see the log of the collector")
}

func (c *collectorCheck) refused(found string) diagnostics.Outcome {
	const example = "OTEL_EXPORTER_OTLP_HEADERS, such as authorization=Bearer%20TOKEN (a space is %20)"
	if len(c.collector.Headers) == 0 {
		return diagnostics.Failed(found+", and no header is set", "put the credentials into "+example)
	}
	return diagnostics.Failed(fmt.Sprintf("%s, with the headers that are set (%d)", found, len(c.collector.Headers)),
		"compare the name and the value with those that the collector wants: "+example)
}
