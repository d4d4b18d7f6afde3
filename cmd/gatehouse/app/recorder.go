package app

import (
	"context"

	"gatehouse/mcptools/mcphttp"
	"gatehouse/server"
)

// recorder passes operations and results of the MCP endpoint to the access log and the counts of package server.
type recorder struct{}

// RecordOperation implements mcphttp.Recorder.
func (recorder) RecordOperation(ctx context.Context, o mcphttp.Operation) {
	server.RecordOperation(ctx, server.Operation(o))
}

// RecordResult implements mcphttp.Recorder.
func (recorder) RecordResult(ctx context.Context, r mcphttp.Result) {
	server.RecordResult(ctx, server.Outcome(r.Outcome), r.Reason, r.Detail)
}
