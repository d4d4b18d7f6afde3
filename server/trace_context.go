package server

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// maxTracestate bounds a tracestate, in bytes: W3C Trace Context, section 3.3.1.5, asks for this much.
const maxTracestate = 512

// traceContext are the fields traceparent and tracestate of a request or a message. It implements
// propagation.TextMapCarrier.
type traceContext struct{ parent, state string }

// Get implements propagation.TextMapCarrier.
func (c traceContext) Get(name string) string {
	switch {
	case name == "traceparent":
		return c.parent
	case name == "tracestate" && len(c.state) <= maxTracestate:
		return c.state
	}
	return ""
}

// Set implements propagation.TextMapCarrier.
func (traceContext) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (traceContext) Keys() []string { return nil }

// span returns the span that the fields name (W3C Trace Context, sections 3.2 and 3.3). It is not valid if the fields
// are not.
func (c traceContext) span() trace.SpanContext {
	if c.parent == "" {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), c))
}

// headerContext returns the trace context of a request. A second traceparent makes both invalid (W3C Trace Context,
// section 4.3): a proxy may have read the other one.
func headerContext(h http.Header) traceContext {
	parents := h["Traceparent"]
	if len(parents) != 1 {
		return traceContext{}
	}
	c := traceContext{parent: parents[0]}
	for i, state := range h["Tracestate"] { // several fields are one list (section 3.3.1.1)
		if i > 0 {
			c.state += ","
		}
		if c.state += state; len(c.state) > maxTracestate {
			break
		}
	}
	return c
}

// traceID returns the trace that the request belongs to: that of its span, or else the one that the message or the
// request names; "" if there is none.
func (s *requestState) traceID(h http.Header) string {
	span := s.measured.spanContext()
	if !span.IsValid() {
		span = traceContext{parent: s.operation.Traceparent}.span()
	}
	if !span.IsValid() {
		span = traceContext{parent: headerContext(h).parent}.span()
	}
	if !span.IsValid() {
		return ""
	}
	return span.TraceID().String()
}
