package mcphttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"slices"
	"strconv"

	"gatehouse/providers/rawjson"
)

const (
	methodInitialize = "initialize"
	methodSetLevel   = "logging/setLevel"
)

// message is what is parsed of a JSON-RPC message before anything acts on it.
type message struct {
	operation
	// id is the encoded id; nil if there is none.
	id json.RawMessage
	// params are nil if there are none.
	params json.RawMessage
	// version is the encoded protocol version in params._meta; every request of MCP 2026-07-28 has one.
	version json.RawMessage
	// traceparent and tracestate are those in params._meta (SEP-414), encoded; nil if there are none.
	traceparent, tracestate json.RawMessage
	// isRequest is true if the message has the members of a JSON-RPC 2.0 request, and none of a response.
	isRequest bool
	// values is the number of JSON values in the message; 0 if it is short.
	values int

	body     []byte
	reserved *reservation
}

// newBody returns a reader of the body, for the SDK's handler.
func (m message) newBody() io.ReadCloser {
	body := new(bodyReader)
	body.Reset(m.body)
	return body
}

// callParams returns the params of a tools/call, and nil for every other method.
func (m message) callParams() json.RawMessage {
	if m.method == methodCallTool {
		return m.params
	}
	return nil
}

type bodyReader struct{ bytes.Reader }

func (*bodyReader) Close() error { return nil }

// The id and the decoded _meta are retained while a call lasts. Real ids have dozens of bytes, and real _meta
// hundreds.
const (
	maxIDBytes   = 1 << 10
	maxMetaBytes = 16 << 10
)

// A decoded value costs up to 175 bytes (an object with one member), however short its text is. So the number of
// values is bounded too.
const (
	maxArgumentValues = 10_000 // in arguments, and in a response of the client
	maxMetaValues     = 200    // in _meta, and in messages that a session retains
	maxOtherValues    = 1_000  // in params, besides arguments
)

const metaVersion = "io.modelcontextprotocol/protocolVersion"

// The SDK looks up names and URIs, and matches URIs with templates, while it holds the lock of its server. Both are
// bounded, so that no caller determines how long the lock is held.
const (
	maxNameBytes    = 8 << 10
	maxMethodBytes  = 128
	maxListenedURIs = 100
)

// errNameTooLong rejects a name, a URI or a method without quoting it.
var errNameTooLong = errors.New("a name or a URI is too long")

// params are the members of params that name the target of a method, and the protocol version.
type params struct{ name, uri, notifications, ref, meta, cursor json.RawMessage }

// readTarget reads the target of the method. The error is for the caller.
func (m *message) readTarget(p params) error {
	switch m.method {
	case methodCallTool, methodGetPrompt:
		return m.readName("name", p.name)
	case methodSubscribe, methodUnsubscribe:
		if p.uri == nil {
			return nil // MCP 2026-07-28 has no such methods, whatever their params: the SDK rejects them
		}
		return m.readName("uri", p.uri)
	case methodRead:
		return m.readName("uri", p.uri)
	case methodListen:
		return m.readSubscriptions(p.notifications)
	case methodComplete:
		return m.readReference(p.ref)
	case methodListTools, methodListPrompts, methodListResources, methodListTemplates:
		return checkCursor(p.cursor)
	}
	return nil
}

func (m *message) readName(member string, raw json.RawMessage) error {
	var ok bool
	if m.name, ok = rawjson.Text(raw); !ok {
		return errors.New(member + " is not a string")
	}
	if len(m.name) > maxNameBytes {
		return errNameTooLong
	}
	return nil
}

// subscriptionsMember is the member of subscriptions/listen that names resources.
const subscriptionsMember = "resourceSubscriptions"

// readSubscriptions reads the resources of a subscriptions/listen.
func (m *message) readSubscriptions(raw json.RawMessage) error {
	var members [1]json.RawMessage
	if !isAbsent(raw) && rawjson.Members(raw, members[:], subscriptionsMember) != nil {
		return errors.New("notifications is not an object with distinct members")
	}
	if isAbsent(members[0]) {
		return nil
	}
	if hasMoreValues(members[0], maxListenedURIs) {
		return fmt.Errorf("%s has more than %d entries", subscriptionsMember, maxListenedURIs)
	}
	if json.Unmarshal(members[0], &m.more) != nil {
		return errors.New(subscriptionsMember + " is not a list of strings")
	}
	return checkNames(m.more)
}

// readReference reads the prompt or resource of a completion/complete.
func (m *message) readReference(raw json.RawMessage) error {
	var ref [3]json.RawMessage
	if !isAbsent(raw) && rawjson.Members(raw, ref[:], "name", "uri", "type") != nil {
		return errors.New("ref is not an object with distinct members")
	}
	var name, uri string
	if ref[0] != nil && json.Unmarshal(ref[0], &name) != nil {
		return errors.New("name is not a string")
	}
	if ref[1] != nil && json.Unmarshal(ref[1], &uri) != nil {
		return errors.New("uri is not a string")
	}
	m.name, m.more = name, []string{uri}
	return checkNames([]string{name, uri})
}

func checkNames(names []string) error {
	if slices.ContainsFunc(names, func(name string) bool { return len(name) > maxNameBytes }) {
		return errNameTooLong
	}
	return nil
}

// checkCursor rejects every cursor: lists are not paginated, so this server never issues one. The SDK decodes
// cursors with encoding/gob while it holds the lock of its server, and a few bytes of gob can keep the
// decoder busy, and the lock held, forever.
func checkCursor(raw json.RawMessage) error {
	if isAbsent(raw) || string(raw) == `""` {
		return nil
	}
	return errUnknownCursor
}

var errUnknownCursor = errors.New("this server did not issue the cursor")

// isAbsent reports whether an optional member is missing or null.
func isAbsent(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// parseMessage parses one JSON-RPC message far enough to know its operation. It rejects what no real message
// has: a batch, an object that two parsers could read differently, and a name, an id or a number of values
// beyond any real use. Names match exactly, and no member that it reads may be repeated or occur in two
// spellings: otherwise the scopes of one tool could be checked, and another tool called, because two parsers
// read the message differently. The check in middleware.authorize covers what is dispatched and does not
// depend on this one.
func parseMessage(body []byte) (message, *rpcError) {
	m := message{body: body}
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) > 0 && trimmed[0] == '[' {
		// Only MCP 2025-03-26 had batches, and no client sends them.
		return m, errMalformed(nil, codeInvalidRequest, "batches are not supported")
	}
	// Counting allocates nothing; reading the members of an object retains their names.
	if rawjson.CountValues(body, maxArgumentValues+maxOtherValues+1) > maxArgumentValues+maxOtherValues {
		return m, errTooLarge(nil, "the message has too many values")
	}
	var top [6]json.RawMessage
	if rawjson.Members(body, top[:], "id", "method", "params", "jsonrpc", "result", "error") != nil {
		return m, errMalformed(nil, codeParseError, "the body is not one JSON-RPC message, or nested too deeply")
	}
	m.id, m.params = top[0], top[2]
	m.isRequest = top[1] != nil && string(top[3]) == `"2.0"` && top[4] == nil && top[5] == nil
	if rpcErr := m.checkID(top[1] != nil); rpcErr != nil {
		return m, rpcErr
	}
	if method := top[1]; method != nil {
		var ok bool
		if m.method, ok = readMethod(method); !ok {
			return m, errMalformed(m.id, codeInvalidRequest, "method is not a string")
		}
		if len(m.method) > maxMethodBytes {
			return m, errMalformed(m.id, codeInvalidRequest, "the method is too long")
		}
	}
	if hasMoreValues(top[4], maxArgumentValues) || hasMoreValues(top[5], maxArgumentValues) {
		return m, errTooLarge(m.id, "the response has too many values")
	}
	if isAbsent(m.params) {
		m.params = nil
	}
	for _, raw := range []json.RawMessage{m.params, top[4], top[5]} {
		if len(raw) > uncountedValues {
			m.values += rawjson.CountValues(raw, maxArgumentValues+maxOtherValues)
		}
	}
	return m, m.readParams()
}

// hasMoreValues reports whether raw has more than limit values, not counting itself.
func hasMoreValues(raw json.RawMessage, limit int) bool {
	// Each value has at least one byte.
	return len(raw) > limit && rawjson.CountValues(raw, limit+1) > limit+1
}

// readParams reads the target of the operation, and the protocol version in _meta.
func (m *message) readParams() *rpcError {
	var in [7]json.RawMessage
	names := [...]string{"name", "uri", "notifications", "ref", "_meta", "cursor", "arguments"}
	if m.params != nil && rawjson.Members(m.params, in[:], names[:]...) != nil {
		return errMalformed(m.id, codeInvalidParams, "params is not an object with distinct members")
	}
	if rpcErr := m.checkValues(in[6]); rpcErr != nil {
		return rpcErr
	}
	p := params{name: in[0], uri: in[1], notifications: in[2], ref: in[3], meta: in[4], cursor: in[5]}
	if err := m.readTarget(p); err != nil {
		return errMalformed(m.id, codeInvalidParams, err.Error())
	}
	if isAbsent(p.meta) {
		return nil
	}
	if len(p.meta) > maxMetaBytes || hasMoreValues(p.meta, maxMetaValues) {
		return errTooLarge(m.id, "_meta is too large")
	}
	var inMeta [3]json.RawMessage
	if rawjson.Members(p.meta, inMeta[:], metaVersion, "traceparent", "tracestate") != nil {
		return errMalformed(m.id, codeInvalidParams, "_meta is not an object with distinct members")
	}
	m.version, m.traceparent, m.tracestate = inMeta[0], inMeta[1], inMeta[2]
	return nil
}

// checkValues bounds the number of values in params.
func (m *message) checkValues(arguments json.RawMessage) *rpcError {
	switch {
	case isRetained(m.method):
		if hasMoreValues(m.params, maxMetaValues) {
			return errTooLarge(m.id, "params have too many values")
		}
	case hasMoreValues(arguments, maxArgumentValues):
		return errTooLarge(m.id, "arguments have too many values")
	case hasMoreValues(m.params, maxOtherValues):
		inParams := rawjson.CountValues(m.params, maxArgumentValues+maxOtherValues)
		if inParams > rawjson.CountValues(arguments, maxArgumentValues+1)+maxOtherValues {
			return errTooLarge(m.id, "params have too many values besides arguments")
		}
	}
	return nil
}

// maxExactID bounds numeric ids. JSON-RPC peers read numbers as float64, where integers from 2^53 on are not
// distinct: one response could answer two requests.
const maxExactID = 1 << 53

// checkID rejects the id of a request that a response could not repeat exactly. A null id counts as one: MCP forbids
// it. (The id of a client's response only refers to a request of this server.)
func (m *message) checkID(isRequest bool) *rpcError {
	if len(m.id) > maxIDBytes {
		return errMalformed(nil, codeInvalidRequest, "the id is too long")
	}
	if m.id == nil || !isRequest || m.id[0] == '"' {
		return nil
	}
	n, err := strconv.ParseFloat(string(m.id), 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return errMalformed(nil, codeInvalidRequest, "the id is neither a string nor an integer")
	case math.Abs(n) >= maxExactID:
		return errMalformed(nil, codeInvalidRequest, "the id is a number beyond 2^53")
	case n != math.Trunc(n):
		return errMalformed(nil, codeInvalidRequest, "the id is neither a string nor an integer")
	}
	return nil
}

// readMethod reads the name of a method, without a copy for the most frequent one.
func readMethod(raw json.RawMessage) (string, bool) {
	if string(raw) == `"`+methodCallTool+`"` {
		return methodCallTool, true
	}
	return rawjson.Text(raw)
}

func isJSON(contentType string) bool {
	if contentType == "application/json" { // without parsing, for nearly all requests
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}
