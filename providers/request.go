package providers

import (
	"context"
	"strconv"
	"strings"
	"unicode"
)

// Operation is what a request asks of the application: what its log line names. All of it comes from the
// caller.
type Operation struct {
	// Method is the JSON-RPC method; empty if the request carries no message that could be read.
	Method string
	// Tool is what tools/call calls, and Prompt what prompts/get gets; empty for every other method.
	Tool, Prompt string
	// ProtocolVersion is the MCP version that the request names.
	ProtocolVersion string
}

// RequestOutcome is how a request ended: a closed list, for the log line.
type RequestOutcome string

// The closed list.
const (
	OutcomeOK              RequestOutcome = "ok"
	OutcomeToolError       RequestOutcome = "tool_error"      // a tool result that says that the call failed
	OutcomeInvalid         RequestOutcome = "invalid"         // a request that is malformed, or asks for what does not exist
	OutcomeUnauthenticated RequestOutcome = "unauthenticated" // no token, or a bad one
	OutcomeDenied          RequestOutcome = "denied"          // a scope is missing, or a Host or Origin header is refused
	OutcomeLimited         RequestOutcome = "limited"         // a limit is reached; the client may try again later
	OutcomeUnavailable     RequestOutcome = "unavailable"     // the identity provider cannot be asked
	OutcomeCanceled        RequestOutcome = "canceled"        // the client was gone before there was an answer
	OutcomeError           RequestOutcome = "error"           // something failed in this program or in a tool
)

// OperationNoter is a [Noter] that also takes what a request asks for and what came of it. Its methods are
// called from the goroutine that writes the answer.
type OperationNoter interface {
	Noter
	NoteOperation(Operation)
	// NoteOutcome is for an outcome that the status of the answer does not tell, as an error in an answer
	// with status 200.
	NoteOutcome(RequestOutcome)
	// NoteDetail says more about the reason. It must not quote more of the request than a name.
	NoteDetail(string)
}

// NoteOperation says what the request of ctx asks for.
func NoteOperation(ctx context.Context, o Operation) {
	if noter, ok := ctx.Value(NoterKey{}).(OperationNoter); ok {
		noter.NoteOperation(o)
	}
}

// NoteDetail says more about the reason why the request of ctx is refused.
func NoteDetail(ctx context.Context, detail string) {
	if noter, ok := ctx.Value(NoterKey{}).(OperationNoter); ok {
		noter.NoteDetail(detail)
	}
}

// Printable makes a value that comes from outside fit for a log line: escaped where a character is not
// graphic, because a terminal may obey it, and at most limit bytes long.
func Printable(value string, limit int) string {
	if len(value) <= limit && strings.IndexFunc(value, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0 {
		return value
	}
	quoted := strconv.QuoteToGraphic(value[:min(len(value), limit)])
	quoted = quoted[1 : len(quoted)-1]
	if len(quoted) > limit {
		quoted = strings.ToValidUTF8(quoted[:limit], "")
	}
	return quoted
}
