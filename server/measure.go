package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/providers"
)

// measuredRequest is what metrics and traces need of a request in addition to its state. A nil measuredRequest records
// nothing.
type measuredRequest struct {
	telemetry *Telemetry
	ctx       echo.Context
	resource  providers.Resource
	scheme    string
	// span is that of the HTTP request; nil until the caller is known, and without traces.
	span trace.Span
	// operation is the MCP operation of the request; nil without one, and after it was detached.
	operation *measuredOperation
}

// measure records the duration of each request, and of its MCP operation, when it ends. Health and readiness probes are
// left out: they would be most of the requests. Without telemetry it is no step at all.
func measure(c Config) echo.MiddlewareFunc {
	scheme, _, _ := strings.Cut(c.Resource.Origin(), "://")
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		if c.Telemetry == nil {
			return next
		}
		return func(ctx echo.Context) error {
			if isProbe(ctx) {
				return next(ctx)
			}
			s := stateOf(ctx)
			s.measured = &measuredRequest{telemetry: c.Telemetry, ctx: ctx, resource: c.Resource, scheme: scheme}
			defer s.endMeasured() // also if the handler drops the connection by a panic
			return next(ctx)
		}
	}
}

// beginSpan begins the span of a request with a valid token. Its parent is the span that the request names. Requests
// without a valid token have a trace of their own, which begins when they end: anyone can send a traceparent, and would
// decide by its flag what is recorded.
func beginSpan(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		if c.Telemetry == nil || c.Telemetry.tracer == nil {
			return next
		}
		return func(ctx echo.Context) error {
			if s := stateOf(ctx); s.identity != nil && s.measured != nil {
				parent := headerContext(ctx.Request().Header).span()
				s.measured.start(trace.ContextWithRemoteSpanContext(context.Background(), parent), s.started)
			}
			return next(ctx)
		}
	}
}

func (m *measuredRequest) start(parent context.Context, at time.Time, options ...trace.SpanStartOption) {
	labels := m.labels()
	name := labels.method
	if name == otherValue {
		name = "HTTP"
	}
	if labels.route != "" {
		name += " " + labels.route
	}
	options = append(options, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at))
	_, m.span = m.telemetry.tracer.Start(parent, name, options...)
}

// spanContext returns that of the operation, or else of the request. It is not valid without traces.
func (m *measuredRequest) spanContext() trace.SpanContext {
	switch {
	case m == nil:
		return trace.SpanContext{}
	case m.operation != nil && m.operation.span != nil:
		return m.operation.span.SpanContext()
	case m.span != nil:
		return m.span.SpanContext()
	}
	return trace.SpanContext{}
}

// handlerRequest returns the request that the application gets: with the span of the operation in its context.
func (m *measuredRequest) handlerRequest(r *http.Request) *http.Request {
	if m == nil || m.operation == nil || m.operation.span == nil {
		return r
	}
	return r.WithContext(trace.ContextWithSpan(r.Context(), m.operation.span))
}

// endMeasured records the request when it has ended, and its operation unless that continues.
func (s *requestState) endMeasured() {
	m, t := s.measured, s.measured.telemetry
	result := Result{Outcome: s.outcome, Reason: s.reason, Detail: s.detail, Code: s.rpcCode, TimedOut: s.timedOut}
	wasDropped := s.outcome == ""
	if wasDropped {
		result.Outcome = OutcomeError
	}
	m.operation.end(result, m.sessionID())
	labels := m.labels()
	labels.status = m.ctx.Response().Status
	if wasDropped {
		labels.status = 0
	}
	if t.requests != nil {
		t.requests.Record(context.Background(), time.Since(s.started).Seconds(), t.requestAttributes.get(labels)...)
	}
	if t.tracer == nil {
		return
	}
	if m.span == nil {
		if !t.unauthenticated.Allow() {
			return
		}
		m.start(context.Background(), s.started, trace.WithNewRoot())
	}
	if m.span.IsRecording() {
		m.span.SetAttributes(m.spanAttributes(s, labels)...)
		if labels.isFailure() {
			m.span.SetStatus(codes.Error, "")
		}
	}
	m.span.End()
}

// requestLabels are the attributes of http.server.request.duration. All values are from closed lists.
type requestLabels struct {
	method, scheme, route, protocol string
	// status is 0 if the connection was dropped.
	status int
}

func (m *measuredRequest) labels() requestLabels {
	r := m.ctx.Request()
	return requestLabels{
		method: methodLabel(r.Method), scheme: m.scheme, route: m.ctx.Path(), protocol: protocolLabel(r),
	}
}

func methodLabel(method string) string {
	switch method {
	case http.MethodConnect, http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPatch,
		http.MethodPost, http.MethodPut, http.MethodTrace:
		return method
	}
	return otherValue
}

// protocolLabel returns the version of HTTP; net/http accepts 1.0, 1.1 and 2.
func protocolLabel(r *http.Request) string {
	switch {
	case r.ProtoMajor == 2:
		return "2"
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		return "1.0"
	}
	return "1.1"
}

func (l requestLabels) isFailure() bool {
	return l.status == 0 || l.status >= http.StatusInternalServerError
}

func (l requestLabels) attributes() []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("http.request.method", l.method), attribute.String("url.scheme", l.scheme),
		attribute.String("network.protocol.version", l.protocol),
	}
	all = appendText(all, "http.route", l.route)
	if l.status != 0 {
		all = append(all, attribute.Int("http.response.status_code", l.status))
	}
	if l.isFailure() {
		errorType := otherValue
		if l.status != 0 {
			errorType = strconv.Itoa(l.status)
		}
		all = append(all, attribute.String("error.type", errorType))
	}
	return all
}

// spanAttributes are those of the HTTP span. Of the client's words it has the method and the path, as the access log
// does, and not the query.
func (m *measuredRequest) spanAttributes(s *requestState, labels requestLabels) []attribute.KeyValue {
	r := m.ctx.Request()
	all := append(labels.attributes(),
		attribute.String("url.path", shownPath(r.URL.Path)),
		attribute.String("client.address", providers.Printable(m.ctx.RealIP(), maxAddress)),
		attribute.String("server.address", m.resource.Hostname()),
		attribute.String("gatehouse.request.id", s.id),
	)
	if labels.method == otherValue {
		all = append(all, attribute.String("http.request.method_original", providers.Printable(r.Method, maxWord)))
	}
	return appendText(all, "gatehouse.reason", m.telemetry.reasonLabel(s.reason))
}

func (t *Telemetry) reasonLabel(reason providers.Reason) string {
	return orOther(t.known.reasons, string(reason))
}
