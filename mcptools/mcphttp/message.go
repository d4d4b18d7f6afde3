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

// message is what must be known of a JSON-RPC message before anything acts on it.
type message struct {
	operation
	// id is the message's id as it stands; nil if it has none.
	id json.RawMessage
	// params are nil if there are none.
	params json.RawMessage
	// version is the protocol version in params._meta, as it stands; every request of 2026-07-28 has one.
	version json.RawMessage
	// isRequest is true if the message has the members of a JSON-RPC 2.0 request, and none of an answer.
	isRequest bool
	// values is how many JSON values the message has, if they are many.
	values int

	body []byte
	held *reservation
}

// again is the body, to be read once more.
func (m message) again() io.ReadCloser {
	again := new(rereader)
	again.Reset(m.body)
	return again
}

type rereader struct{ bytes.Reader }

func (*rereader) Close() error { return nil }

// What is read besides the arguments is kept for as long as a call lasts: the id as it stands, and _meta decoded. Real
// ones have some dozens of bytes, and some hundreds.
const (
	maxIDBytes   = 1 << 10
	maxMetaBytes = 16 << 10
)

// A value costs up to 175 bytes when it is decoded (an object with one member), however short its text is. So messages
// are bounded by the number of their values too.
const (
	maxArgumentValues = 10_000 // in arguments, and in a response of the client
	maxMetaValues     = 200    // in _meta, and in what a session keeps
	maxOtherValues    = 1_000  // in params, besides arguments
)

const metaVersion = "io.modelcontextprotocol/protocolVersion"

// The SDK looks names and URIs up while it holds the lock of its server, and matches URIs with templates there. Both
// are bounded, so that no caller decides how long the lock is held.
const (
	maxNameBytes    = 8 << 10
	maxMethodBytes  = 128
	maxListenedURIs = 100
)

// errTooLong refuses a name, a URI or a method. It does not quote what it refuses.
var errTooLong = errors.New("a name or a URI is too long")

// params are the members of params that say what a method is applied to, and of which version the message is.
type params struct{ name, uri, notifications, ref, meta, cursor json.RawMessage }

// target reads what a method is applied to. The error is for the caller.
func (m *message) target(p params) error {
	switch m.method {
	case methodCallTool, methodGetPrompt:
		return m.named("name", p.name)
	case methodSubscribe, methodUnsubscribe:
		if p.uri == nil {
			return nil // 2026-07-28 has no such methods, whatever their params: the SDK says so
		}
		return m.named("uri", p.uri)
	case methodRead:
		return m.named("uri", p.uri)
	case methodListen:
		return m.listened(p.notifications)
	case methodComplete:
		return m.completed(p.ref)
	case methodListTools, methodListPrompts, methodListResources, methodListTemplates:
		return noCursor(p.cursor)
	}
	return nil
}

func (m *message) named(member string, raw json.RawMessage) error {
	var ok bool
	if m.name, ok = rawjson.Text(raw); !ok {
		return errors.New(member + " is not a string")
	}
	if len(m.name) > maxNameBytes {
		return errTooLong
	}
	return nil
}

// listenResources is the member of subscriptions/listen that names resources.
const listenResources = "resourceSubscriptions"

// listened reads which resources a subscriptions/listen is about.
func (m *message) listened(raw json.RawMessage) error {
	var wanted [1]json.RawMessage
	if !isAbsent(raw) && rawjson.Members(raw, wanted[:], listenResources) != nil {
		return errors.New("notifications is not an object with distinct members")
	}
	if isAbsent(wanted[0]) {
		return nil
	}
	if hasMoreValues(wanted[0], maxListenedURIs) {
		return fmt.Errorf("%s has more than %d entries", listenResources, maxListenedURIs)
	}
	if json.Unmarshal(wanted[0], &m.more) != nil {
		return errors.New(listenResources + " is not a list of strings")
	}
	return boundedNames(m.more)
}

// completed reads which prompt or resource a completion/complete is about.
func (m *message) completed(raw json.RawMessage) error {
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
	return boundedNames([]string{name, uri})
}

func boundedNames(names []string) error {
	if slices.ContainsFunc(names, func(name string) bool { return len(name) > maxNameBytes }) {
		return errTooLong
	}
	return nil
}

// noCursor refuses every cursor: lists are sent whole, so this server never issues one. The SDK decodes cursors with
// encoding/gob while it holds the lock of its server, and a few bytes of gob can keep it there for ever.
func noCursor(raw json.RawMessage) error {
	if isAbsent(raw) || string(raw) == `""` {
		return nil
	}
	return errUnknownCursor
}

var errUnknownCursor = errors.New("this server did not issue the cursor")

// isAbsent reports whether an optional member is missing or null.
func isAbsent(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// peek reads one JSON-RPC message just far enough to know its operation, and refuses what no real message has: a batch,
// an object that two parsers could read differently, and a name, an id or a number of values beyond any real use.
// Names are matched exactly, no member of what it reads may occur twice, and none that means something in two spellings:
// otherwise one parser could check one tool and another call a second one. The check in guard.authorize looks at what is
// dispatched and does not depend on this one.
func peek(body []byte) (message, *refusal) {
	m := message{body: body}
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) > 0 && trimmed[0] == '[' {
		// 2025-03-26 had batches; no client sends one, and later versions dropped them.
		return m, malformed(nil, codeInvalidRequest, "batches are not supported")
	}
	// Counting allocates nothing; reading the members of an object keeps their names.
	if rawjson.CountValues(body, maxArgumentValues+maxOtherValues+1) > maxArgumentValues+maxOtherValues {
		return m, bodyTooLarge(nil, "the message has too many values")
	}
	var top [6]json.RawMessage
	if rawjson.Members(body, top[:], "id", "method", "params", "jsonrpc", "result", "error") != nil {
		return m, malformed(nil, codeParseError, "the body is not one JSON-RPC message, or nested too deeply")
	}
	m.id, m.params = top[0], top[2]
	m.isRequest = top[1] != nil && string(top[3]) == `"2.0"` && top[4] == nil && top[5] == nil
	if refused := m.checkID(top[1] != nil); refused != nil {
		return m, refused
	}
	if method := top[1]; method != nil {
		var ok bool
		if m.method, ok = methodOf(method); !ok {
			return m, malformed(m.id, codeInvalidRequest, "method is not a string")
		}
		if len(m.method) > maxMethodBytes {
			return m, malformed(m.id, codeInvalidRequest, "the method is too long")
		}
	}
	if hasMoreValues(top[4], maxArgumentValues) || hasMoreValues(top[5], maxArgumentValues) {
		return m, bodyTooLarge(m.id, "the response has too many values")
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

// hasMoreValues reports whether there are more than limit values in raw, itself not counted.
func hasMoreValues(raw json.RawMessage, limit int) bool {
	return len(raw) > limit && rawjson.CountValues(raw, limit+1) > limit+1 // each value has at least one byte
}

// readParams reads what the operation is about, and the version of the protocol that _meta names.
func (m *message) readParams() *refusal {
	var in [7]json.RawMessage
	if m.params != nil && rawjson.Members(m.params, in[:], "name", "uri", "notifications", "ref", "_meta", "cursor", "arguments") != nil {
		return malformed(m.id, codeInvalidParams, "params is not an object with distinct members")
	}
	arguments := in[6]
	switch {
	case isRemembered(m.method):
		if hasMoreValues(m.params, maxMetaValues) {
			return bodyTooLarge(m.id, "params have too many values")
		}
	case hasMoreValues(arguments, maxArgumentValues):
		return bodyTooLarge(m.id, "arguments have too many values")
	case hasMoreValues(m.params, maxOtherValues) &&
		rawjson.CountValues(m.params, maxArgumentValues+maxOtherValues) > rawjson.CountValues(arguments, maxArgumentValues+1)+maxOtherValues:
		return bodyTooLarge(m.id, "params have too many values besides arguments")
	}
	p := params{name: in[0], uri: in[1], notifications: in[2], ref: in[3], meta: in[4], cursor: in[5]}
	if err := m.target(p); err != nil {
		return malformed(m.id, codeInvalidParams, err.Error())
	}
	if isAbsent(p.meta) {
		return nil
	}
	if len(p.meta) > maxMetaBytes || hasMoreValues(p.meta, maxMetaValues) {
		return bodyTooLarge(m.id, "_meta is too large")
	}
	var version [1]json.RawMessage
	if rawjson.Members(p.meta, version[:], metaVersion) != nil {
		return malformed(m.id, codeInvalidParams, "_meta is not an object with distinct members")
	}
	m.version = version[0]
	return nil
}

// maxExactID bounds ids that are numbers. JSON-RPC peers read numbers as float64, where integers from 2^53 on are not
// distinct any more: one response could answer two requests.
const maxExactID = 1 << 53

// checkID refuses the id of a request that a response could not repeat exactly. An id that is null counts as one: MCP
// forbids it. (The id of a client's response only names a request of this server's.)
func (m *message) checkID(isRequest bool) *refusal {
	if len(m.id) > maxIDBytes {
		return malformed(nil, codeInvalidRequest, "the id is too long")
	}
	if m.id == nil || !isRequest || m.id[0] == '"' {
		return nil
	}
	n, err := strconv.ParseFloat(string(m.id), 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return malformed(nil, codeInvalidRequest, "the id is neither a string nor an integer")
	case math.Abs(n) >= maxExactID:
		return malformed(nil, codeInvalidRequest, "the id is a number beyond 2^53")
	case n != math.Trunc(n):
		return malformed(nil, codeInvalidRequest, "the id is neither a string nor an integer")
	}
	return nil
}

// methodOf reads the name of a method; that of nearly every message without a copy.
func methodOf(raw json.RawMessage) (string, bool) {
	if string(raw) == `"`+methodCallTool+`"` {
		return methodCallTool, true
	}
	return rawjson.Text(raw)
}

func isJSON(contentType string) bool {
	if contentType == "application/json" { // as nearly everybody writes it
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}
