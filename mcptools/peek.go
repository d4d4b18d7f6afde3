package mcptools

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"

	"gatehouse/providers/rawjson"
)

const methodInitialize = "initialize"

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

	body []byte
}

// again is the body, to be read once more.
func (m message) again() io.ReadCloser {
	again := new(rereader)
	again.Reset(m.body)
	return again
}

type rereader struct{ bytes.Reader }

func (*rereader) Close() error { return nil }

// What is read besides the arguments is kept for as long as a call lasts: the id as it stands, and _meta decoded, which can be twenty
// times as large. Real ones have some dozens of bytes, and some hundreds.
const (
	maxIDBytes   = 1 << 10
	maxMetaBytes = 16 << 10
)

const metaVersion = "io.modelcontextprotocol/protocolVersion"

// params are the members of params that say what a method is applied to, and of which version the message is.
type params struct{ name, uri, notifications, ref, meta json.RawMessage }

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
		var wanted [1]json.RawMessage
		if rawjson.Members(p.notifications, wanted[:], listenResources) != nil {
			return errors.New("notifications is not an object with distinct members")
		}
		var uris []string
		if wanted[0] != nil && json.Unmarshal(wanted[0], &uris) != nil {
			return errors.New(listenResources + " is not a list of strings")
		}
		m.more = uris
	case methodComplete:
		var ref [3]json.RawMessage
		if rawjson.Members(p.ref, ref[:], "name", "uri", "type") != nil {
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
	}
	return nil
}

func (m *message) named(member string, raw json.RawMessage) error {
	var ok bool
	if m.name, ok = rawjson.Text(raw); !ok {
		return errors.New(member + " is not a string")
	}
	return nil
}

// listenResources is the member of subscriptions/listen that names resources.
const listenResources = "resourceSubscriptions"

// peek reads one JSON-RPC message just far enough to know its operation. Names are matched exactly, no member of what it reads may
// occur twice, and none that means something in two spellings: where two parsers could disagree about what a message says, one could
// check one tool and the other call another. The check in guard.authorize looks at what is dispatched and does not depend on this one.
func peek(body []byte) (message, *refusal) {
	m := message{body: body}
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) > 0 && trimmed[0] == '[' {
		// 2025-03-26 had batches; no client sends one, and later versions dropped them.
		return m, malformed(nil, codeInvalidRequest, "batches are not supported")
	}
	var top [6]json.RawMessage
	if rawjson.Members(body, top[:], "id", "method", "params", "jsonrpc", "result", "error") != nil {
		return m, malformed(nil, codeParseError, "the body is not one JSON-RPC message, or nested too deeply")
	}
	if len(top[0]) > maxIDBytes {
		return m, malformed(nil, codeInvalidRequest, "the id is too long")
	}
	m.id, m.params = top[0], top[2]
	m.isRequest = top[1] != nil && string(top[3]) == `"2.0"` && top[4] == nil && top[5] == nil
	if method := top[1]; method != nil {
		var ok bool
		if m.method, ok = methodOf(method); !ok {
			return m, malformed(m.id, codeInvalidRequest, "method is not a string")
		}
	}
	var in [6]json.RawMessage
	if top[2] != nil && rawjson.Members(top[2], in[:], "name", "uri", "notifications", "ref", "_meta", "arguments") != nil {
		return m, malformed(m.id, codeInvalidParams, "params is not an object with distinct members")
	}
	p := params{name: in[0], uri: in[1], notifications: in[2], ref: in[3], meta: in[4]}
	if err := m.target(p); err != nil {
		return m, malformed(m.id, codeInvalidParams, err.Error())
	}
	if len(p.meta) > maxMetaBytes {
		return m, bodyTooLarge(m.id, "_meta is too large")
	}
	if p.meta != nil {
		var version [1]json.RawMessage
		if rawjson.Members(p.meta, version[:], metaVersion) != nil {
			return m, malformed(m.id, codeInvalidParams, "_meta is not an object with distinct members")
		}
		m.version = version[0]
	}
	return m, nil
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
