package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// call is a tools/call of a caller.
type call struct {
	offer    offer
	caller   *providers.Identity
	isModern bool // the caller speaks MCP 2026-07-28
	// arguments are as the caller wrote them; nil if there are none.
	arguments json.RawMessage
	// responses and state are the answers to questions of the upstream, and what it wants back with them.
	responses, state json.RawMessage
	// elicitation is the capability of the caller to answer questions; empty if it has none.
	elicitation string
	// report passes on progress; nil if the caller does not ask for it.
	report func(progress)
}

// newCall reads a request. Its name and arguments are those that the SDK has dispatched; params has the members that
// the SDK would change.
func newCall(ctx context.Context, o offer, req *mcp.CallToolRequest, params json.RawMessage) (*call, error) {
	c := &call{offer: o, caller: mcptools.Caller(req)}
	if !isAbsent(req.Params.Arguments) {
		c.arguments = req.Params.Arguments
	}
	version, _ := req.Params.Meta[mcp.MetaKeyProtocolVersion].(string)
	c.isModern = version >= modernVersion
	if !utf8.Valid(c.arguments) {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "arguments are not in UTF-8"}
	}
	if bytes.ContainsAny(c.arguments, "\r\n") { // between tokens: a message on stdio is one line
		var line bytes.Buffer
		if json.Compact(&line, c.arguments) != nil {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "arguments are not JSON"}
		}
		c.arguments = line.Bytes()
	}
	if c.isModern {
		c.elicitation = elicitation(req.Params.Meta)
		if err := c.readAnswers(params); err != nil {
			return nil, err
		}
	}
	if token := req.Params.GetProgressToken(); token != nil {
		c.report = func(p progress) {
			// An error means that the caller is gone, which ends the call.
			_ = mcptools.NotifyProgress(ctx, req, &mcp.ProgressNotificationParams{
				ProgressToken: token, Progress: p.progress, Total: p.total, Message: p.message,
			})
		}
	}
	return c, nil
}

// readAnswers reads the members of a retry after a question (MCP 2026-07-28, Multi Round-Trip Requests).
func (c *call) readAnswers(params json.RawMessage) error {
	var members [2]json.RawMessage
	if len(params) > 0 && rawjson.Members(params, members[:], "inputResponses", "requestState") != nil {
		return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "params are not an object with distinct members"}
	}
	for i, member := range members {
		if member == nil {
			continue
		}
		var line bytes.Buffer
		if !utf8.Valid(member) || json.Compact(&line, member) != nil {
			return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "params are not JSON in UTF-8"}
		}
		members[i] = line.Bytes()
	}
	c.responses, c.state = members[0], members[1]
	return nil
}

// elicitation returns the capability of a caller as it is declared to an upstream: built from nothing, like the rest
// of _meta.
func elicitation(meta mcp.Meta) string {
	capabilities, _ := meta[mcp.MetaKeyClientCapabilities].(map[string]any)
	own, isDeclared := capabilities["elicitation"].(map[string]any)
	if !isDeclared {
		return ""
	}
	declared := map[string]struct{}{}
	for _, mode := range []string{"form", "url"} {
		if _, has := own[mode].(map[string]any); has {
			declared[mode] = struct{}{}
		}
	}
	text, _ := json.Marshal(declared)
	return string(text)
}

// answersQuestions reports whether the upstream may ask the caller.
func (c *call) answersQuestions() bool { return c.isModern && c.elicitation != "" }

// body returns the request for an upstream. Nothing but the arguments and the answers to its questions is the
// caller's; meta has further members of _meta.
func (c *call) body(id requestID, cl client, upstreamIsModern bool, meta []byte) []byte {
	b := make([]byte, 0, 512+len(c.arguments)+len(c.responses)+len(c.state)+len(meta))
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = id.appendTo(b)
	b = append(b, `,"method":"tools/call","params":{"name":"`...)
	b = append(b, c.offer.remote...) // letters, digits, _ and -
	b = append(b, '"')
	member := func(name string, value []byte) {
		if value != nil {
			b = append(append(append(append(b, `,"`...), name...), `":`...), value...)
		}
	}
	member("arguments", c.arguments)
	if upstreamIsModern {
		member("inputResponses", c.responses)
		member("requestState", c.state)
	}
	return append(append(b, c.meta(id, cl, upstreamIsModern, meta)...), `}}`...)
}

// meta returns the member _meta, after a comma, or nothing.
func (c *call) meta(id requestID, cl client, upstreamIsModern bool, more []byte) []byte {
	var b []byte
	if c.report != nil {
		b = id.appendTo(append(b, `,"progressToken":`...))
	}
	if upstreamIsModern {
		capabilities := "{}"
		if c.answersQuestions() {
			capabilities = `{"elicitation":` + c.elicitation + `}`
		}
		b = append(append(b, ','), cl.modernMeta(capabilities)...)
	}
	if more != nil {
		b = append(append(b, ','), more...)
	}
	if b == nil {
		return nil
	}
	b[0] = '{'
	return append(append([]byte(`,"_meta":`), b...), '}')
}

// joined adds a member to others, of which there may be none.
func joined(members []byte, more string) []byte {
	switch {
	case more == "":
		return members
	case members == nil:
		return []byte(more)
	}
	return append(append(members, ','), more...)
}

// do sends the call in a session.
func (c *call) do(ctx context.Context, s *session, cl client, i identity) (json.RawMessage, error) {
	if s.digests[c.offer.remote] != c.offer.sha256 {
		return nil, errChanged()
	}
	headers, meta, err := i.of(c)
	if err != nil {
		return nil, errNotSent(err)
	}
	r := request{id: newRequestID(), method: "tools/call", tool: c.offer.remote, headers: headers}
	r.body = c.body(r.id, cl, s.isModern(), joined(meta, traceparent(ctx)))
	answer, err := s.roundTrip(ctx, r, c.report)
	switch {
	case err != nil:
		return nil, err
	case answer.fault != nil:
		return nil, forCaller(answer.fault)
	}
	return passOn(answer.result, c, s.isModern())
}

// verbatim returns the result of a call, or of its failure.
func (c *call) verbatim(result json.RawMessage, err error) (*mcptools.Verbatim, error) {
	if err == nil {
		return &mcptools.Verbatim{JSON: result}, nil
	}
	if fault, ok := errors.AsType[*jsonrpc.Error](err); ok {
		return nil, fault
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return &mcptools.Verbatim{JSON: failed(f.text, c.isModern), Reason: f.reason}, nil
	}
	// The end of the context: the text is that of a tool of this server.
	timedOut := errors.Is(err, context.DeadlineExceeded)
	return &mcptools.Verbatim{JSON: failed(err.Error(), c.isModern), TimedOut: timedOut}, nil
}
