package mcphttp

import (
	"context"
	"encoding/json"

	"gatehouse/providers/rawjson"
)

// SessionInfo describes a session to a [Recorder].
type SessionInfo struct {
	ID string
	// ProtocolVersion is the MCP version that server and client agreed on.
	ProtocolVersion string
}

// SessionEnd is how a session ended.
type SessionEnd string

// All ends of sessions.
const (
	SessionDeleted   SessionEnd = "deleted"   // the client sent DELETE
	SessionTimedOut  SessionEnd = "timeout"   // it was idle for mcp.session_timeout
	SessionReplaced  SessionEnd = "replaced"  // another session needed its place
	SessionDenied    SessionEnd = "denied"    // the operator denied a caller in it
	SessionAbandoned SessionEnd = "abandoned" // the client hung up before it had the session ID
	SessionStopped   SessionEnd = "stopped"   // the server stopped
	SessionFailed    SessionEnd = "error"     // the SDK ended it
)

// recordBegin reports the session to a recorder. Its end is reported if it is added to the table.
func (s *session) recordBegin(ctx context.Context, recorder Recorder, info SessionInfo) {
	end := recorder.BeginSession(ctx, info)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recordEnd = end
}

// negotiatedVersion returns the protocol version in the response to initialize, or "".
func (p *sessionPost) negotiatedVersion() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var result, version [1]json.RawMessage
	if rawjson.Members(p.response, result[:], "result") != nil ||
		rawjson.Members(result[0], version[:], "protocolVersion") != nil {
		return ""
	}
	for _, known := range p.handler.versions { // without a copy
		if string(version[0]) == `"`+known+`"` {
			return known
		}
	}
	return ""
}
