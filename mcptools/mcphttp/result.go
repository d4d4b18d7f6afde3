package mcphttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// noteOperation tells the log line of r what r asks for.
func noteOperation(r *http.Request, m message) {
	o := providers.Operation{Method: shortened(m.method), ProtocolVersion: r.Header.Get(versionHeader)}
	switch m.method {
	case methodCallTool:
		o.Tool = shortened(m.name)
	case methodGetPrompt:
		o.Prompt = shortened(m.name)
	case methodInitialize:
		var version [1]json.RawMessage
		if o.ProtocolVersion == "" && rawjson.Members(m.params, version[:], "protocolVersion") == nil {
			o.ProtocolVersion, _ = rawjson.Text(version[0])
		}
	}
	if o.ProtocolVersion == "" {
		o.ProtocolVersion, _ = rawjson.Text(m.version)
	}
	o.ProtocolVersion = shortened(o.ProtocolVersion)
	providers.NoteOperation(r.Context(), o)
}

// maxNoted is how much of a name a request's log line could show. The rest need not stay in memory with the
// request.
const maxNoted = 256

// maxPanic is how much the log says of a panic or of a broken promise of a tool, in bytes. Either may quote
// the request.
const maxPanic = 1_000

func shortened(s string) string {
	if len(s) <= maxNoted {
		return s
	}
	return strings.Clone(s[:maxNoted])
}

// verdict is what the log line of a request says of the response to it, where the status does not. The zero
// value says nothing.
type verdict struct {
	outcome providers.RequestOutcome
	reason  providers.Reason
	detail  string
}

// note tells it to a request's noter, if there is one.
func (v verdict) note(to providers.Noter) {
	if v.reason != "" && to != nil {
		to.Note(v.reason)
	}
	if to, ok := to.(providers.OperationNoter); ok && v.outcome != "" {
		to.NoteOutcome(v.outcome)
		to.NoteDetail(v.detail)
	}
}

// The texts of this package's own refusals where only a JSON-RPC error can be returned. The verdict tells
// them by their text.
const (
	textScopeMissing = "insufficient scope"
	textTooManyCalls = "too many calls in flight; try again later"
)

// verdictOn judges a response to a request of the method.
func verdictOn(method string, response *jsonrpc.Response) verdict {
	if response.Error == nil {
		if method == methodCallTool && isToolError(response.Result) {
			return verdict{outcome: providers.OutcomeToolError}
		}
		return verdict{}
	}
	failure, ok := errors.AsType[*jsonrpc.Error](response.Error)
	if !ok {
		return verdict{outcome: providers.OutcomeError, reason: providers.InternalError}
	}
	v := verdict{outcome: providers.OutcomeInvalid, detail: fmt.Sprintf("JSON-RPC error %d", failure.Code)}
	if words := wordsOf(method, failure.Message); words != "" {
		v.detail += ": " + words
	}
	switch failure.Code {
	case jsonrpc.CodeParseError, jsonrpc.CodeInvalidRequest:
		v.reason = providers.MessageMalformed
	case jsonrpc.CodeMethodNotFound:
		v.reason = providers.MethodUnknown
	case jsonrpc.CodeInvalidParams:
		v.reason = providers.ParamsInvalid
	case mcp.CodeHeaderMismatch:
		v.reason = providers.HeaderMismatch
	case mcp.CodeMissingRequiredClientCapabilities:
		v.reason = providers.CapabilityMissing
	case mcp.CodeUnsupportedProtocolVersion:
		v.reason = providers.VersionUnsupported
	case jsonrpc.CodeInternalError:
		v.outcome, v.reason = providers.OutcomeError, providers.InternalError
	default: // a tool, prompt or resource gave it
		v.outcome = providers.OutcomeError
	}
	switch {
	case strings.HasPrefix(failure.Message, textScopeMissing):
		v.outcome, v.reason = providers.OutcomeDenied, providers.InsufficientScope
	case failure.Message == textTooManyCalls:
		v.outcome, v.reason = providers.OutcomeLimited, providers.TooManyCalls
	}
	return v
}

// isToolError reports whether the result of a call says that the tool failed. Only a result that could is
// read.
func isToolError(result []byte) bool {
	if !bytes.Contains(result, []byte(`"isError":true`)) {
		return false // as nearly all
	}
	var isError [1]json.RawMessage
	return rawjson.Members(result, isError[:], "isError") == nil && string(isError[0]) == "true"
}

// wordsOf returns what of an error's message may stand in the log: the SDK's own words, up to where they
// begin to quote the request. A handler of a tool, prompt or resource may have put anything into its message.
func wordsOf(method, message string) string {
	if runsCode(method) {
		for _, words := range []string{"unknown tool", "unknown prompt", "Resource not found", "there is no such resource", textScopeMissing, textTooManyCalls} {
			if strings.HasPrefix(message, words) {
				return words
			}
		}
		return ""
	}
	words, _, _ := strings.Cut(message, `"`)
	return providers.Printable(strings.TrimRight(strings.TrimSpace(words), " :"), maxNoted)
}
