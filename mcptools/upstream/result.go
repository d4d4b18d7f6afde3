package upstream

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers/rawjson"
)

// The values of the member resultType (MCP 2026-07-28, ResultType).
const (
	resultComplete      = "complete"
	resultInputRequired = "input_required"
)

// passOn returns the result of an upstream as its caller gets it: with a resultType, if the caller is modern, and
// without the name of the upstream, which callers have no use for. Everything else stays as the upstream wrote it.
func passOn(result json.RawMessage, c *call, upstreamIsModern bool) (json.RawMessage, error) {
	var members [3]json.RawMessage
	if rawjson.Members(result, members[:], "resultType", "_meta", "inputRequests") != nil {
		return nil, errMalformed(errors.New("the result is not an object with distinct members"))
	}
	kind, meta, questions := members[0], members[1], members[2]
	if kind != nil && (c.isModern || upstreamIsModern) {
		// Before 2026-07-28, the member has no meaning.
		switch text, _ := rawjson.Text(kind); {
		case text == resultComplete:
		case text == resultInputRequired && upstreamIsModern && c.answersQuestions() && areAnswerable(questions):
		default:
			return nil, errMalformed(errors.New("the result is of a type that the caller cannot handle"))
		}
	}
	// meta is replaced first, because it is part of result.
	if len(meta) > 0 && meta[0] == '{' {
		if checkMembers(meta) != nil {
			return nil, errMalformed(errors.New("_meta has a member twice"))
		}
		if without := rawjson.Without(meta, mcp.MetaKeyServerInfo); len(without) != len(meta) {
			result = rawjson.Replace(result, meta, without)
		}
	}
	if c.isModern && kind == nil {
		result = withResultType(result)
	}
	return result, nil
}

// checkMembers returns an error if an object has a member twice.
func checkMembers(object []byte) error {
	return rawjson.Each(object, func(_, _ []byte) error { return nil })
}

// withResultType returns an object with resultType "complete", as its first member.
func withResultType(object []byte) []byte {
	text, rest := `{"resultType":"`+resultComplete+`"`, bytes.TrimLeft(object[1:], " \t\r\n")
	if rest[0] != '}' {
		text += ","
	}
	return append([]byte(text), rest...)
}

// areAnswerable reports whether all questions of an upstream are for the user: nothing else was offered to it.
func areAnswerable(questions json.RawMessage) bool {
	if isAbsent(questions) {
		return true // the upstream wants to be called again
	}
	return rawjson.Each(questions, func(_, question []byte) error {
		var method [1]json.RawMessage
		if err := rawjson.Members(question, method[:], "method"); err != nil {
			return err
		}
		if text, _ := rawjson.Text(method[0]); text != "elicitation/create" {
			return errors.New("the question is not for the user")
		}
		return nil
	}) == nil
}

// failed returns a tool result with an error text, which the model reads.
func failed(text string, isModern bool) json.RawMessage {
	quoted, _ := json.Marshal(text)
	result := `{"content":[{"type":"text","text":` + string(quoted) + `}],"isError":true}`
	if isModern {
		return withResultType([]byte(result))
	}
	return json.RawMessage(result)
}
