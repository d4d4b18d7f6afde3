package server

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

// auditedRequest is what the audit record of a request needs in addition to its state.
type auditedRequest struct {
	log *audit.Log
	ctx echo.Context
	// isDetached is set if the operation continues after the request: its record is written at its end.
	isDetached bool
}

// recordAudit writes the audit record of each operation when its request ends, and counts refused requests
// without a valid token. Without an audit log it is no step at all.
func recordAudit(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		if c.Audit == nil {
			return next
		}
		return func(ctx echo.Context) error {
			state := stateOf(ctx)
			state.audited = &auditedRequest{log: c.Audit, ctx: ctx}
			defer state.recordAudit() // also if the handler drops the connection by a panic
			return next(ctx)
		}
	}
}

func (s *requestState) recordAudit() {
	a := s.audited
	switch {
	case a.isDetached:
	case s.identity == nil && s.reason != "":
		a.log.CountRefused(string(s.reason))
	case s.identity != nil:
		outcome := s.outcome
		if outcome == "" {
			outcome = OutcomeError // the connection was dropped
		}
		a.put(s.auditRecord(), outcome, s.reason, s.started)
	}
}

// put completes and writes a record, unless audit.events excludes it.
func (a *auditedRequest) put(r audit.Record, outcome Outcome, reason providers.Reason, started time.Time) {
	r.Outcome, r.Reason, r.Decision = string(outcome), string(reason), audit.Allow
	isUnreadable := r.Method == http.MethodPost && outcome == OutcomeInvalid // no operation could be read from it
	switch {
	case isUnreadable, outcome == OutcomeDenied, outcome == OutcomeUnauthenticated, outcome == OutcomeLimited,
		outcome == OutcomeUnavailable:
		r.Decision, r.Event = audit.Deny, audit.EventRefused
	}
	if (r.Event == audit.EventList || r.Event == audit.EventOther) && !a.log.RecordsAll() {
		return
	}
	r.Duration = time.Since(started)
	a.log.Put(r)
}

// auditRecord returns the record of the request, without how it ended.
func (s *requestState) auditRecord() audit.Record {
	request, response := s.audited.ctx.Request(), s.audited.ctx.Response()
	r := audit.Record{
		Event: s.operation.Event, Issuer: s.identity.Issuer, Subject: s.identity.Subject, Client: s.identity.Client,
		Scopes: s.identity.Scopes, Address: s.audited.ctx.RealIP(), RequestID: s.id,
		TraceID: traceID(request.Header.Get("Traceparent")), Method: s.operation.Method,
		Tool: s.operation.Tool, Prompt: s.operation.Prompt, URI: s.operation.URI, Arguments: s.operation.Arguments,
		Protocol: s.operation.ProtocolVersion, Config: s.audited.log.Config(),
	}
	session := response.Header().Get(sessionHeader)
	if session == "" {
		session = request.Header.Get(sessionHeader)
	}
	r.Session = audit.HashSession(session)
	if r.Method == "" {
		r.Method = request.Method
	}
	switch {
	case s.operation.Method == "" && request.Method == http.MethodDelete:
		r.Event = audit.EventSessionEnd
	case r.Event == "":
		r.Event = audit.EventOther
	}
	return r
}

// traceID returns the trace of a traceparent (W3C Trace Context, section 3.2), or "".
func traceID(traceparent string) string {
	const length = len("00-00000000000000000000000000000000-0000000000000000-00")
	if len(traceparent) < length || traceparent[2] != '-' || traceparent[35] != '-' {
		return ""
	}
	id := traceparent[3:35]
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return id
}

// BeginCall must be called before a call of ctx runs. If audit.required is set, it returns when the record of
// the call is on disk; the error is why it is not, and the call must not run then. The request has a second
// record at its end.
func BeginCall(ctx context.Context) error {
	s := stateFrom(ctx)
	if s.audited == nil || !s.audited.log.Required() || s.identity == nil {
		return nil
	}
	r := s.auditRecord()
	r.Decision, r.Outcome, r.Duration = audit.Allow, audit.OutcomeStarted, -1
	return s.audited.log.PutRequired(ctx, r)
}

// DetachOperation says that the operation of ctx continues after its request. end must be called when it has
// ended; it is nil without an audit log. Like [RecordResult], DetachOperation must be called from the
// goroutine that writes the response.
func DetachOperation(ctx context.Context) (end func(Outcome, providers.Reason)) {
	s := stateFrom(ctx)
	if s.audited == nil || s.identity == nil {
		return nil
	}
	s.audited.isDetached = true
	log, started := &auditedRequest{log: s.audited.log}, s.started
	r := s.auditRecord()
	return func(outcome Outcome, reason providers.Reason) { log.put(r, outcome, reason, started) }
}

// isAuditUnavailable reports whether calls are refused because their records cannot be written.
func isAuditUnavailable(c Config) bool {
	return c.Audit != nil && c.Audit.Required() && c.Audit.Status().Err != nil
}
