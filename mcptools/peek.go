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
	// hasVersion is true if params._meta has the protocol version, as every request of 2026-07-28 does.
	hasVersion bool

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

const metaVersion = "io.modelcontextprotocol/protocolVersion"

// target is where the params of a method say what it is applied to.
type target struct{ name, uri, notifications, ref json.RawMessage }

// namesIn reads what a method is applied to. The error is for the caller.
func namesIn(method string, params target) ([]string, error) {
	var (
		member string
		raw    json.RawMessage
	)
	switch method {
	case methodCallTool, methodGetPrompt:
		member, raw = "name", params.name
	case methodRead, methodSubscribe, methodUnsubscribe:
		member, raw = "uri", params.uri
	case methodListen:
		wanted, err := rawjson.Members(params.notifications, listenResources)
		if err != nil {
			return nil, errors.New("notifications is not an object with distinct members")
		}
		var uris []string
		if wanted[0] != nil && json.Unmarshal(wanted[0], &uris) != nil {
			return nil, errors.New(listenResources + " is not a list of strings")
		}
		return uris, nil
	case methodComplete:
		ref, err := rawjson.Members(params.ref, "name", "uri", "type")
		if err != nil {
			return nil, errors.New("ref is not an object with distinct members")
		}
		names := make([]string, 2)
		for i, member := range []string{"name", "uri"} {
			if ref[i] != nil && json.Unmarshal(ref[i], &names[i]) != nil {
				return nil, errors.New(member + " is not a string")
			}
		}
		return names, nil
	default:
		return nil, nil
	}
	if raw == nil && (method == methodSubscribe || method == methodUnsubscribe) {
		return nil, nil // 2026-07-28 has no such methods, whatever their params: the SDK says so
	}
	name, ok := rawjson.Text(raw)
	if !ok {
		return nil, errors.New(member + " is not a string")
	}
	return []string{name}, nil
}

// listenResources is the member of subscriptions/listen that names resources.
const listenResources = "resourceSubscriptions"

// peek reads one JSON-RPC message just far enough to know its operation. Names are matched exactly, and no member may
// occur twice or in two spellings: where two parsers could disagree about what a message says, one could check one tool
// and the other call another. The check in guard.authorize looks at what is dispatched and does not depend on this one.
func peek(body []byte) (message, *refusal) {
	m := message{body: body}
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) > 0 && trimmed[0] == '[' {
		// 2025-03-26 had batches; no client sends one, and later versions dropped them.
		return m, malformed(nil, codeInvalidRequest, "batches are not supported")
	}
	if !json.Valid(body) {
		return m, malformed(nil, codeParseError, "the body is not one JSON-RPC message")
	}
	members, err := rawjson.Members(body, "id", "method", "params", "jsonrpc", "result", "error")
	if err != nil {
		return m, malformed(nil, codeParseError, "the body is not one JSON-RPC message")
	}
	id, method, rawParams := members[0], members[1], members[2]
	m.id = id
	if method != nil {
		var ok bool
		if m.method, ok = rawjson.Text(method); !ok {
			return m, malformed(m.id, codeInvalidRequest, "method is not a string")
		}
	}
	params := make([]json.RawMessage, 5)
	if rawParams != nil {
		if params, err = rawjson.Members(rawParams, "name", "uri", "notifications", "ref", "_meta", "arguments"); err != nil {
			return m, malformed(m.id, codeInvalidParams, "params is not an object with distinct members")
		}
	}
	if m.names, err = namesIn(m.method, target{name: params[0], uri: params[1], notifications: params[2], ref: params[3]}); err != nil {
		return m, malformed(m.id, codeInvalidParams, err.Error())
	}
	if meta := params[4]; meta != nil {
		version, err := rawjson.Members(meta, metaVersion)
		if err != nil {
			return m, malformed(m.id, codeInvalidParams, "_meta is not an object with distinct members")
		}
		m.hasVersion = version[0] != nil
	}
	return m, nil
}

func isJSON(contentType string) bool {
	if contentType == "application/json" { // as nearly everybody writes it
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}
