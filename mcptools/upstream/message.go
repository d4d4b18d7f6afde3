package upstream

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/providers/rawjson"
)

// message is a JSON-RPC message of an upstream.
type message struct {
	// id is encoded; nil if there is none.
	id     json.RawMessage
	method string
	params json.RawMessage
	result json.RawMessage
	fault  json.RawMessage // the member error
}

var errNoMessage = errors.New("it is no message of JSON-RPC 2.0")

// parseMessage parses one message. Everything that it returns is part of text. Objects that two parsers could read
// differently are no messages.
func parseMessage(text []byte) (message, error) {
	if len(text) == 0 || text[0] != '{' || !utf8.Valid(text) {
		return message{}, errNoMessage
	}
	var top [6]json.RawMessage
	if rawjson.Members(text, top[:], "jsonrpc", "id", "method", "params", "result", "error") != nil ||
		string(top[0]) != `"2.0"` {
		return message{}, errNoMessage
	}
	m := message{id: top[1], params: top[3], result: top[4], fault: top[5]}
	if top[2] != nil {
		var ok bool
		if m.method, ok = rawjson.Text(top[2]); !ok || m.method == "" {
			return message{}, errNoMessage
		}
	}
	return m, nil
}

// isForeignJSON reports whether text, which is no message, is a JSON object that does not look like one, such as a line
// of a log. The id of a request in it does not make it the response.
func isForeignJSON(text []byte) bool {
	var members [3]json.RawMessage
	return rawjson.Members(text, members[:], "jsonrpc", "result", "error") == nil &&
		members[0] == nil && members[1] == nil && members[2] == nil
}

// isResponse reports whether m responds to a request.
func (m message) isResponse() bool { return m.method == "" && m.id != nil }

// reply is a response: a result, or an error of the upstream itself.
type reply struct {
	result json.RawMessage // one JSON object
	fault  *jsonrpc.Error
}

// reply reads a response. The error says why it is none.
func (m message) reply() (reply, error) {
	switch {
	case m.fault != nil && m.result != nil:
		return reply{}, errors.New("a response has both a result and an error")
	case m.fault != nil:
		fault, err := parseFault(m.fault)
		return reply{fault: fault}, err
	case len(m.result) == 0 || m.result[0] != '{':
		return reply{}, errors.New("a result is not an object")
	}
	return reply{result: m.result}, nil
}

// parseFault reads the member error of a response.
func parseFault(raw json.RawMessage) (*jsonrpc.Error, error) {
	var members [3]json.RawMessage
	if err := rawjson.Members(raw, members[:], "code", "message", "data"); err != nil {
		return nil, errors.New("an error is not an object with distinct members")
	}
	code, err := strconv.ParseInt(string(members[0]), 10, 64)
	text, isText := rawjson.Text(members[1])
	if err != nil || !isText {
		return nil, errors.New("an error has no code or message")
	}
	text = mcptools.Truncate(text, mcptools.MaxErrorBytes)
	return &jsonrpc.Error{Code: code, Message: text, Data: members[2]}, nil
}

// forCaller returns an error of the upstream as its caller gets it: without data, which has no form that could be
// checked. Clients would take two codes as statements about this server: an unsupported version, at which they fall
// back to another one, and wrong headers.
func forCaller(fault *jsonrpc.Error) *jsonrpc.Error {
	code := fault.Code
	if code == mcp.CodeUnsupportedProtocolVersion || code == mcp.CodeHeaderMismatch {
		code = jsonrpc.CodeInternalError
	}
	return &jsonrpc.Error{Code: code, Message: fault.Message}
}

// requestID identifies a request at an upstream, and is its progress token. It is random: some processes write what
// they receive to stdout, and a caller that could guess the id of another call could put a response to it there.
type requestID uint64

// newRequestID returns an id from 1 to 2^53, all of which every parser reads exactly.
func newRequestID() requestID {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return requestID(binary.LittleEndian.Uint64(b[:])>>11) + 1
}

func (id requestID) appendTo(b []byte) []byte { return strconv.AppendUint(b, uint64(id), 10) }

// parseRequestID reads an id, or a progress token. It is 0 for what cannot be one of [newRequestID].
func parseRequestID(raw []byte) requestID {
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil || n > 1<<53 {
		return 0
	}
	return requestID(n)
}

// appendRequest appends a request. params is one JSON object.
func appendRequest(b []byte, id requestID, method string, params []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = id.appendTo(b)
	return appendMethod(b, method, params)
}

// appendNotification appends a notification.
func appendNotification(b []byte, method string, params []byte) []byte {
	return appendMethod(append(b, `{"jsonrpc":"2.0"`...), method, params)
}

func appendMethod(b []byte, method string, params []byte) []byte {
	b = append(b, `,"method":"`...)
	b = append(b, method...)
	b = append(b, '"')
	if params != nil {
		b = append(b, `,"params":`...)
		b = append(b, params...)
	}
	return append(b, '}')
}

// maxForeignID bounds the id of a request of the upstream, which the response repeats.
const maxForeignID = 1 << 10

// answerTo returns the response to a request of the upstream; nil if its id is not one. No capability is declared to
// the upstream, so every method but ping is unknown.
func answerTo(m message) []byte {
	if c := m.id[0]; len(m.id) > maxForeignID || c != '"' && c != '-' && (c < '0' || c > '9') {
		return nil
	}
	b := append([]byte(`{"jsonrpc":"2.0","id":`), m.id...)
	if m.method == "ping" {
		return append(b, `,"result":{}}`...)
	}
	return append(b, `,"error":{"code":-32601,"message":"method not found"}}`...)
}

// idsIn returns what looks like the ids of messages in parts of a text that is no message, or too long for one.
// Whether such an id belongs to a request in flight decides what it is worth.
func idsIn(parts ...[]byte) (ids []requestID) {
	for _, part := range parts {
		for {
			_, after, found := bytes.Cut(part, []byte(`"id"`))
			if !found {
				break
			}
			part = after
			rest, isMember := bytes.CutPrefix(bytes.TrimLeft(after, " \t"), []byte(":"))
			if !isMember {
				continue
			}
			rest = bytes.TrimLeft(rest, " \t")
			end := 0
			for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
				end++
			}
			if id := parseRequestID(rest[:end]); id != 0 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// indexMessage returns the index at which a message may begin in text, or -1.
func indexMessage(text []byte) int {
	i := bytes.Index(text, []byte(`{"jsonrpc"`))
	if i < 0 {
		i = bytes.Index(text, []byte(`{"result"`)) // the TypeScript SDK writes this member first
	}
	if i < 0 {
		i = bytes.Index(text, []byte(`{"id"`))
	}
	return i
}
