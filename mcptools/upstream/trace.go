package upstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// tracerName is the instrumentation scope of this program's spans.
const tracerName = "gatehouse"

// startSpan starts the span of a call, by the conventions of OpenTelemetry for clients of MCP, if ctx has a span. end
// ends it with the error of the call.
func (u *upstream) startSpan(ctx context.Context, o offer) (_ context.Context, end func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, func(error) {}
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, "tools/call "+o.remote,
		trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		transport := "pipe"
		if u.settings.URL != "" {
			transport = "tcp"
		}
		span.SetAttributes(
			attribute.String("mcp.method.name", "tools/call"), attribute.String("gen_ai.operation.name", "execute_tool"),
			attribute.String("gen_ai.tool.name", o.remote), attribute.String("network.transport", transport),
			attribute.String("gatehouse.upstream", u.settings.Name),
		)
	}
	return ctx, func(err error) { endSpan(span, err) }
}

// endSpan records how a call ended. Texts of the upstream are not recorded.
func endSpan(span trace.Span, err error) {
	defer span.End()
	if err == nil || !span.IsRecording() || errors.Is(err, context.Canceled) {
		return
	}
	kind := outcomeOf(err)
	if fault, isFault := errors.AsType[*jsonrpc.Error](err); isFault {
		kind = strconv.FormatInt(fault.Code, 10)
		span.SetAttributes(attribute.String("rpc.response.status_code", kind))
	} else if reason := reasonOf(err); reason != "" {
		span.SetAttributes(attribute.String("gatehouse.reason", string(reason)))
	}
	span.SetAttributes(attribute.String("error.type", kind))
	span.SetStatus(codes.Error, "")
}

// noteSession records in the span of a call which version the upstream speaks.
func noteSession(ctx context.Context, s *session) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.String("mcp.protocol.version", s.version))
	}
}

// traceparent returns the member of _meta that names the span of a call (SEP-414), or "" without one. The tracestate of
// the caller is not passed on: it is the caller's text, and _meta is built from nothing.
func traceparent(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return ""
	}
	flags := span.TraceFlags() & trace.FlagsSampled
	return fmt.Sprintf(`"traceparent":"00-%s-%s-%s"`, span.TraceID(), span.SpanID(), flags)
}
