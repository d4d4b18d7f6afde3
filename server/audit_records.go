package server

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

// auditedRequest is what the audit record of a request needs in addition to its state.
type auditedRequest struct {
	log     *audit.Log
	ctx     echo.Context
	config  string      // the digest of the configuration that judges the request
	address string      // of the client
	header  http.Header // of the request
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
			state.audited = &auditedRequest{
				log: c.Audit, ctx: ctx, config: c.Digest, address: ctx.RealIP(), header: ctx.Request().Header,
			}
			defer state.recordAudit(c.Shared.deniedRecords) // also if the handler drops the connection by a panic
			return next(ctx)
		}
	}
}

// recordAudit writes the record of the request. denied limits those of denied callers: their requests cost so little
// that a single caller could fill the disk, and nothing else would stop it.
func (s *requestState) recordAudit(denied *rate.Limiter) {
	a := s.audited
	switch {
	case a.isDetached, s.hasSignInEvent:
	case s.identity == nil && s.reason != "", s.identity != nil && !s.admitted && !denied.Allow():
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
		Scopes: s.identity.Scopes, Address: s.audited.address, RequestID: s.id,
		TraceID: s.traceID(request.Header), Method: s.operation.Method,
		Tool: s.operation.Tool, Prompt: s.operation.Prompt, URI: s.operation.URI, Arguments: s.operation.Arguments,
		Protocol: s.operation.ProtocolVersion, Config: s.audited.config,
	}
	r.Session = audit.HashSession(sessionID(request.Header, response.Header()))
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

// detachAudited returns the function that writes the record of an operation that continues after its request, or nil.
func (s *requestState) detachAudited() func(Result) {
	if s.audited == nil {
		return nil
	}
	s.audited.isDetached = true
	log, started := &auditedRequest{log: s.audited.log}, s.started
	record := s.auditRecord()
	return func(r Result) { log.put(record, r.Outcome, r.Reason, started) }
}

// isAuditUnavailable reports whether calls are refused because their records cannot be written.
func isAuditUnavailable(c Config) bool {
	return c.Audit != nil && c.Audit.Required() && c.Audit.Status().Err != nil
}
