package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"gatehouse/providers/rawjson"
)

// maxArguments bounds the arguments of one record.
const maxArguments = 64

// Arguments is what a record contains of the arguments of a call.
type Arguments struct {
	json    string
	omitted int
}

// ArgumentRecorder makes [Arguments], as audit.arguments says. Nil records nothing.
type ArgumentRecorder struct{ key []byte }

// newArgumentRecorder returns nil for audit.arguments: none.
func newArgumentRecorder(s Settings) *ArgumentRecorder {
	switch s.Arguments {
	case ArgumentsNames:
		return &ArgumentRecorder{}
	case ArgumentsHMAC:
		return &ArgumentRecorder{key: []byte(s.ArgumentsKey.Reveal())}
	}
	return nil
}

// Of describes the member "arguments" of the params of a call. The HMAC of an argument is HMAC-SHA256 of its
// name, a zero byte, and its value without insignificant white space.
func (a *ArgumentRecorder) Of(params []byte) Arguments {
	if a == nil || len(params) == 0 {
		return Arguments{}
	}
	var member [1]json.RawMessage
	if rawjson.Members(params, member[:], "arguments") != nil || len(member[0]) == 0 || member[0][0] != '{' {
		return Arguments{}
	}
	open, closing := byte('['), byte(']')
	if a.key != nil {
		open, closing = '{', '}'
	}
	text := []byte{open}
	var omitted, n int
	err := rawjson.Each(member[0], func(name, value []byte) error {
		if n++; n > maxArguments {
			omitted++
			return nil
		}
		if n > 1 {
			text = append(text, ',')
		}
		text = appendString(text, string(name))
		if a.key == nil {
			return nil
		}
		sum, err := a.sum(name, value)
		text = append(text, ':', '"')
		text = append(text, sum...)
		text = append(text, '"')
		return err
	})
	if err != nil {
		return Arguments{}
	}
	return Arguments{json: string(append(text, closing)), omitted: omitted}
}

func (a *ArgumentRecorder) sum(name, value []byte) (string, error) {
	var compact bytes.Buffer
	if json.Compact(&compact, value) != nil {
		return "", errors.New("invalid JSON")
	}
	mac := hmac.New(sha256.New, a.key)
	mac.Write(name)
	mac.Write([]byte{0})
	mac.Write(compact.Bytes())
	return hex.EncodeToString(mac.Sum(nil)), nil
}
