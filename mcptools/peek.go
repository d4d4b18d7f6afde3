package mcptools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	josejson "github.com/go-jose/go-jose/v4/json"
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

func (m message) reader() io.Reader { return bytes.NewReader(m.body) }

const metaVersion = "io.modelcontextprotocol/protocolVersion"

// namesIn reads what a method is applied to. The error is for the caller.
func namesIn(method string, params map[string]json.RawMessage) ([]string, error) {
	member := ""
	switch method {
	case methodCallTool, methodGetPrompt:
		member = "name"
	case methodRead, methodSubscribe, methodUnsubscribe:
		member = "uri"
	case methodListen:
		wanted, err := membersOf(params["notifications"], listenResources)
		if err != nil {
			return nil, errors.New("notifications is not an object with distinct members")
		}
		var uris []string
		if raw, ok := wanted[listenResources]; ok && json.Unmarshal(raw, &uris) != nil {
			return nil, errors.New(listenResources + " is not a list of strings")
		}
		return uris, nil
	case methodComplete:
		ref, err := membersOf(params["ref"], "type", "name", "uri")
		if err != nil {
			return nil, errors.New("ref is not an object with distinct members")
		}
		var names []string
		for _, member := range []string{"name", "uri"} {
			var name string
			if raw, ok := ref[member]; ok && json.Unmarshal(raw, &name) != nil {
				return nil, errors.New(member + " is not a string")
			}
			names = append(names, name)
		}
		return names, nil
	default:
		return nil, nil
	}
	raw, ok := params[member]
	if !ok && (method == methodSubscribe || method == methodUnsubscribe) {
		return nil, nil // 2026-07-28 has no such methods, whatever their params: the SDK says so
	}
	var name string
	if json.Unmarshal(raw, &name) != nil {
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
	members, err := membersOf(body, "jsonrpc", "id", "method", "params", "result", "error")
	if err != nil {
		return m, malformed(nil, codeParseError, "the body is not one JSON-RPC message")
	}
	m.id = members["id"]
	if raw, ok := members["method"]; ok {
		if json.Unmarshal(raw, &m.method) != nil {
			return m, malformed(m.id, codeInvalidRequest, "method is not a string")
		}
	}
	raw, ok := members["params"]
	if !ok {
		return m, nil
	}
	params, err := membersOf(raw, "name", "uri", "arguments", "_meta")
	if err != nil {
		return m, malformed(m.id, codeInvalidParams, "params is not an object with distinct members")
	}
	if m.names, err = namesIn(m.method, params); err != nil {
		return m, malformed(m.id, codeInvalidParams, err.Error())
	}
	if raw, ok := params["_meta"]; ok {
		meta, err := membersOf(raw, metaVersion)
		if err != nil {
			return m, malformed(m.id, codeInvalidParams, "_meta is not an object with distinct members")
		}
		_, m.hasVersion = meta[metaVersion]
	}
	return m, nil
}

// membersOf reads a JSON object by exact names. A member that differs from one of the names only in case is refused, as is
// a member that occurs twice: encoding/json would match names in any case and take the last.
func membersOf(raw []byte, names ...string) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := josejson.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, errors.New("null")
	}
	for member := range members {
		for _, name := range names {
			if member != name && strings.EqualFold(member, name) {
				return nil, fmt.Errorf("a member imitates %s", name)
			}
		}
	}
	return members, nil
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}
