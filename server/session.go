package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"gatehouse/server/audit"
)

// SessionEnd is how a session of the application ended.
type SessionEnd string

// The ends of sessions that this package distinguishes.
const (
	// SessionDeleted is the end by a DELETE of the client. The record of that request is the one of the end.
	SessionDeleted SessionEnd = "deleted"
	// SessionFailed is the end by an error.
	SessionFailed SessionEnd = "error"
)

// sessionLabels are the attributes of mcp.server.session.duration. All values are from closed lists.
type sessionLabels struct{ version, errorType string }

func (l sessionLabels) attributes() []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("network.transport", "tcp"), attribute.String("network.protocol.name", "http"),
	}
	all = appendText(all, "mcp.protocol.version", l.version)
	return appendText(all, "error.type", l.errorType)
}

// BeginSession says that the request of ctx opened a session. end must be called when it has ended; it is nil if that
// is not recorded. It retains neither the request nor the identity of its caller.
func BeginSession(ctx context.Context, id, protocolVersion string) (end func(SessionEnd)) {
	s := stateFrom(ctx)
	if s.identity == nil || s.audited == nil && s.measured == nil {
		return nil
	}
	began := time.Now()
	var log *auditedRequest
	var record audit.Record
	if s.audited != nil {
		log = &auditedRequest{log: s.audited.log}
		record = audit.Record{
			Event: audit.EventSessionEnd, Decision: audit.Allow, Issuer: strings.Clone(s.identity.Issuer),
			Subject: strings.Clone(s.identity.Subject), Client: strings.Clone(s.identity.Client),
			Session: audit.HashSession(id), Protocol: protocolVersion,
		}
	}
	var telemetry *Telemetry
	if s.measured != nil {
		telemetry = s.measured.telemetry
	}
	return func(how SessionEnd) {
		took := time.Since(began)
		telemetry.recordSession(protocolVersion, how, took)
		if log != nil && how != SessionDeleted {
			record.Outcome, record.Duration, record.Config = string(how), took, log.log.Config()
			log.log.Put(record)
		}
	}
}

func (t *Telemetry) recordSession(version string, how SessionEnd, took time.Duration) {
	if t == nil || t.sessions == nil {
		return
	}
	labels := sessionLabels{version: orNone(t.known.versions, version)}
	if how == SessionFailed {
		labels.errorType = otherValue
	}
	t.sessions.Record(context.Background(), took.Seconds(), t.sessionAttributes.get(labels)...)
}

// sessionID returns the ID of the session that a request belongs to, or that its response opened.
func sessionID(request, response http.Header) string {
	if id := response.Get(sessionHeader); id != "" {
		return id
	}
	return request.Get(sessionHeader)
}
