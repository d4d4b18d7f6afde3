package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// tools calls tools/list with the token. Why the server refuses a token is never in the response, but in its
// log, under the request ID that this command generated.
func (s *serverChecks) tools(ctx context.Context) diagnostics.Outcome {
	if s.Token == "" {
		return diagnostics.Skipped("no token was given (--token-file)")
	}
	id := newRequestID()
	r, err := s.call(ctx, map[string]string{"Authorization": "Bearer " + s.Token, "X-Request-Id": id})
	if err != nil {
		return diagnostics.Failed(err.Error(), seeLog)
	}
	log := logHint(r, id)
	switch r.status {
	case http.StatusOK:
		return s.countTools(r, log)
	case http.StatusUnauthorized:
		return diagnostics.Failed("401: the token is not valid here",
			"sign in again; `gatehouse token inspect` with this configuration shows why, and "+log)
	case http.StatusForbidden:
		return s.forbidden(r, log)
	case http.StatusServiceUnavailable:
		return diagnostics.Failed("503: the server cannot reach the provider",
			"see server.ready and the checks of the provider; "+log)
	case http.StatusTooManyRequests:
		return diagnostics.Warning("429: too many invalid tokens came from this address recently",
			"run this command again in a minute")
	}
	return diagnostics.Failed(describe(r), log)
}

func (s *serverChecks) forbidden(r response, log string) diagnostics.Outcome {
	required := providers.Quote(strings.Join(s.Settings.Scopes.Required, " ")) + " (scopes.required)"
	body, ok := errorOf(r)
	switch {
	case !ok:
		return diagnostics.Failed("403, and not from this server",
			"something in front refuses requests with a token: let them through")
	case body.Error == "forbidden" && r.header.Get("WWW-Authenticate") == "":
		return diagnostics.Failed("403: the operator has denied the caller of the token (denials.file)",
			"`gatehouse deny --list` shows whom; "+log)
	}
	if r.header.Get("WWW-Authenticate") == "" && len(s.diagnosis.DefaultScopes) > 0 {
		return diagnostics.Failed(
			"403: the token has no scope claim, and provider.default_scopes lacks what every call needs",
			"add "+required+" to provider.default_scopes; "+log)
	}
	o := diagnostics.Failed("403: the token lacks a scope", "sign in with "+required+"; "+log)
	o.Expected = "the token has the scopes that every call needs"
	return o
}

func (s *serverChecks) countTools(r response, log string) diagnostics.Outcome {
	switch n, ok := toolsIn(r); {
	case !ok:
		return diagnostics.Failed("the response is not one to tools/list",
			"check what is in front of the server; "+log)
	case n == 0 && s.Tools == 0:
		return diagnostics.OK("the token sees no tool, because the server offers none")
	case n == 0:
		return diagnostics.Warning("the token sees no tool",
			"sign in with the scopes of the tools, or set tools.show_all")
	case n == 1:
		return diagnostics.OK("the token sees 1 tool")
	default:
		return diagnostics.OK(fmt.Sprintf("the token sees %d tools", n))
	}
}

// toolsIn returns the number of tools in a result of tools/list. The result is JSON, or the first event with a
// message.
func toolsIn(r response) (int, bool) {
	message := r.body
	if strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") {
		message = nil
		for line := range bytes.Lines(r.body) {
			if data, ok := bytes.CutPrefix(line, []byte("data:")); ok && json.Valid(data) {
				message = data
				break
			}
		}
	}
	var list struct {
		Result *struct {
			Tools []json.RawMessage `json:"tools"`
		} `json:"result"`
	}
	if json.Unmarshal(message, &list) != nil || list.Result == nil || list.Result.Tools == nil {
		return 0, false
	}
	return len(list.Result.Tools), true
}
