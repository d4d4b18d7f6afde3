package server

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

// measuredOperation is an MCP operation. It may outlive its request. A nil measuredOperation records nothing.
type measuredOperation struct {
	telemetry *Telemetry
	began     time.Time
	labels    operationLabels
	// span is nil without traces.
	span trace.Span
}

// The methods whose target is an attribute of its own.
const (
	methodCallTool  = "tools/call"
	methodGetPrompt = "prompts/get"
)

// operationLabels are the attributes of mcp.server.operation.duration. All values are from closed lists.
type operationLabels struct{ method, tool, prompt, version, protocol, errorType, code, reason string }

func (l operationLabels) attributes() []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("mcp.method.name", l.method),
		attribute.String("network.transport", "tcp"),
		attribute.String("network.protocol.name", "http"),
		attribute.String("network.protocol.version", l.protocol),
	}
	if l.method == methodCallTool {
		all = append(all, attribute.String("gen_ai.operation.name", "execute_tool"))
	}
	all = appendText(all, "gen_ai.tool.name", l.tool)
	all = appendText(all, "gen_ai.prompt.name", l.prompt)
	all = appendText(all, "mcp.protocol.version", l.version)
	all = appendText(all, "error.type", l.errorType)
	all = appendText(all, "rpc.response.status_code", l.code)
	return appendText(all, "gatehouse.reason", l.reason)
}

// begin begins the operation of the request. A message without a method, such as a response of the client, is none.
func (m *measuredRequest) begin(s *requestState) {
	o := &s.operation
	if m == nil || o.Method == "" {
		return
	}
	t, r := m.telemetry, m.ctx.Request()
	labels := operationLabels{
		method: orOther(t.known.methods, o.Method), version: orNone(t.known.versions, o.ProtocolVersion),
		tool: orOther(t.known.tools, o.Tool), prompt: orOther(t.known.prompts, o.Prompt), protocol: protocolLabel(r),
	}
	m.operation = &measuredOperation{telemetry: t, began: time.Now(), labels: labels}
	if t.tracer != nil {
		m.operation.span = m.startOperation(o, labels, m.operation.began)
	}
}

// startOperation starts the span of an operation. Its parent is the span that the message names (SEP-414), and the span
// of the request is a link then; otherwise that is the parent.
func (m *measuredRequest) startOperation(o *Operation, l operationLabels, at time.Time) trace.Span {
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at)}
	parent := context.Background()
	var request trace.SpanContext
	if m.span != nil {
		request = m.span.SpanContext()
		parent = trace.ContextWithSpan(parent, m.span)
	}
	if caller := (traceContext{o.Traceparent, o.Tracestate}).span(); caller.IsValid() {
		parent = trace.ContextWithRemoteSpanContext(context.Background(), caller)
		if request.IsValid() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: request}))
		}
	}
	_, span := m.telemetry.tracer.Start(parent, l.spanName(), options...)
	if span.IsRecording() {
		span.SetAttributes(m.operationAttributes(o)...)
	}
	return span
}

// spanName names the target if it is known.
func (l operationLabels) spanName() string {
	for _, target := range []string{l.tool, l.prompt} {
		if target != "" && target != otherValue {
			return l.method + " " + target
		}
	}
	return l.method
}

// maxRequestID bounds the JSON-RPC id in a span, in bytes.
const maxRequestID = 64

// operationAttributes are those that only spans have. Arguments and results are never among them.
func (m *measuredRequest) operationAttributes(o *Operation) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("client.address", providers.Printable(m.ctx.RealIP(), maxAddress)),
	}
	all = appendText(all, "jsonrpc.request.id", providers.Printable(o.ID, maxRequestID))
	if resource := m.telemetry.known.resource; resource != nil && o.URI != "" {
		all = appendText(all, "mcp.resource.uri", resource(o.URI))
	}
	return all
}

// sessionID returns the ID of the session that the request belongs to, or opened.
func (m *measuredRequest) sessionID() string {
	return sessionID(m.ctx.Request().Header, m.ctx.Response().Header())
}

// detach returns the function that ends the operation, which continues after the request. It is nil without one.
func (m *measuredRequest) detach() (end func(Result)) {
	if m == nil || m.operation == nil {
		return nil
	}
	operation, session := m.operation, m.sessionID()
	m.operation = nil // the echo.Context must not be retained
	return func(r Result) { operation.end(r, session) }
}

// end records the operation. session is the ID of its session, if it has one.
func (o *measuredOperation) end(r Result, session string) {
	if o == nil {
		return
	}
	o.labels.errorType, o.labels.code = errorType(r), codeLabel(r.Code)
	o.labels.reason = o.telemetry.reasonLabel(r.Reason)
	if t := o.telemetry; t.operations != nil {
		t.operations.Record(context.Background(), time.Since(o.began).Seconds(), t.callAttributes.get(o.labels)...)
	}
	if o.span == nil {
		return
	}
	if o.span.IsRecording() {
		o.span.SetAttributes(appendText(o.labels.attributes(), "mcp.session.id", audit.HashSession(session))...)
		if o.labels.errorType != "" {
			o.span.SetStatus(codes.Error, providers.Printable(r.Detail, maxName))
		}
	}
	o.span.End()
}
