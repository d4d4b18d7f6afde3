package server

import (
	"errors"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"gatehouse/providers"
)

// Telemetry records metrics and spans of requests, MCP operations and sessions, by the conventions of OpenTelemetry
// for HTTP and for MCP. One of them serves all servers of a process.
//
// No attribute of a metric has a value that a client chooses freely: see [KnownNames].
type Telemetry struct {
	tracer trace.Tracer // nil without traces
	// The histograms are nil without metrics.
	requests, operations, sessions metric.Float64Histogram

	// unauthenticated limits the spans of requests without a valid token, as their lines in the log are limited:
	// anyone could fill the queue, which drops the spans of callers then, and the disks of the collector.
	unauthenticated *rate.Limiter

	known             knownNames
	requestAttributes *attributeCache[requestLabels]
	callAttributes    *attributeCache[operationLabels]
	sessionAttributes *attributeCache[sessionLabels]
}

// KnownNames are the values that attributes may have where a client chooses the value. All others become _OTHER, or
// are left out: anyone could make up names, and each would be a time series of its own.
type KnownNames struct {
	// Methods are JSON-RPC methods, Tools and Prompts the names in the catalog, and Versions the supported versions
	// of MCP.
	Methods, Tools, Prompts, Versions []string
	// Reasons are all reasons of refused requests, those of providers included.
	Reasons []providers.ReasonDoc
	// Resource returns the name of a resource in the catalog: its URI, or the template that matches it, or "". Nil
	// means that no name is recorded.
	Resource func(uri string) string
}

// otherValue replaces every value that is not known.
const otherValue = "_OTHER"

// Boundaries of histograms, in seconds, as the conventions for HTTP and MCP set them.
func requestBoundaries() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
}

func operationBoundaries() []float64 {
	return []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300}
}

// NewTelemetry creates the instruments. Without meter no metrics are recorded, and without tracer no spans; it returns
// nil if there is neither.
func NewTelemetry(meter metric.Meter, tracer trace.Tracer, names KnownNames) (*Telemetry, error) {
	if meter == nil && tracer == nil {
		return nil, nil
	}
	t := &Telemetry{
		tracer: tracer, known: newKnownNames(names), unauthenticated: rate.NewLimiter(linesPerSecond, lineBurst),
	}
	if meter == nil {
		return t, nil
	}
	t.requestAttributes = newAttributeCache(requestLabels.attributes)
	t.callAttributes = newAttributeCache(operationLabels.attributes)
	t.sessionAttributes = newAttributeCache(sessionLabels.attributes)
	histogram := func(name, about string, boundaries []float64) (metric.Float64Histogram, error) {
		return meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(about),
			metric.WithExplicitBucketBoundaries(boundaries...))
	}
	var failed [3]error
	t.requests, failed[0] = histogram("http.server.request.duration",
		"Duration of HTTP requests, without health and readiness probes.", requestBoundaries())
	t.operations, failed[1] = histogram("mcp.server.operation.duration",
		"Duration of MCP requests and notifications, from their arrival to their end.", operationBoundaries())
	t.sessions, failed[2] = histogram("mcp.server.session.duration",
		"Duration of MCP sessions that ended.", operationBoundaries())
	return t, errors.Join(failed[:]...)
}

// knownNames are [KnownNames] for lookups.
type knownNames struct {
	methods, tools, prompts, versions, reasons map[string]bool
	resource                                   func(string) string
}

func newKnownNames(n KnownNames) knownNames {
	set := func(names []string) map[string]bool {
		s := make(map[string]bool, len(names))
		for _, name := range names {
			s[name] = true
		}
		return s
	}
	var reasons []string
	for _, doc := range n.Reasons {
		reasons = append(reasons, string(doc.Code))
	}
	return knownNames{
		methods: set(n.Methods), tools: set(n.Tools), prompts: set(n.Prompts), versions: set(n.Versions),
		reasons: set(reasons), resource: n.Resource,
	}
}

// orOther returns name if it is known, "" if it is empty, and _OTHER for any other name.
func orOther(known map[string]bool, name string) string {
	if name == "" || known[name] {
		return name
	}
	return otherValue
}

// orNone returns name if it is known, and "" for any other name.
func orNone(known map[string]bool, name string) string {
	if known[name] {
		return name
	}
	return ""
}

// callerErrorCodes are the codes that are no error of the server, by the MCP convention: the client asked for something
// that does not exist, or in a wrong form.
func callerErrorCodes() []int { return []int{-32700, -32600, -32601, -32602, -32002} }

// serverErrorCodes are the other codes of JSON-RPC and of MCP. The author of a tool can use any number.
func serverErrorCodes() []int { return []int{-32603, -32000, -32001, -32020, -32021, -32022, -32042} }

// codeLabel returns a JSON-RPC error code as text, or "" if there is none.
func codeLabel(code int) string {
	switch {
	case code == 0:
		return ""
	case slices.Contains(callerErrorCodes(), code), slices.Contains(serverErrorCodes(), code):
		return strconv.Itoa(code)
	}
	return otherValue
}

// The values of error.type besides error codes.
const (
	errorTypeTool    = "tool_error"
	errorTypeTimeout = "timeout"
)

// errorType returns the error.type of an operation, or "" if it did not fail by a fault of the server.
func errorType(r Result) string {
	hasFailed := r.Outcome == OutcomeToolError || r.Code != 0
	switch {
	case hasFailed && r.TimedOut:
		return errorTypeTimeout
	case r.Outcome == OutcomeToolError:
		return errorTypeTool
	case slices.Contains(callerErrorCodes(), r.Code):
		return ""
	case r.Code != 0:
		return codeLabel(r.Code)
	case r.Outcome == OutcomeError:
		return otherValue // there was no JSON-RPC response
	}
	return ""
}

// appendText appends an attribute unless its value is empty.
func appendText(attributes []attribute.KeyValue, key attribute.Key, value string) []attribute.KeyValue {
	if value == "" {
		return attributes
	}
	return append(attributes, key.String(value))
}
