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

// tools calls tools/list as somebody who has signed in. What becomes of a bad token stands in the server's log under the
// id that this command made up, and never in an answer.
func (s *ownServer) tools(ctx context.Context) diagnostics.Outcome {
	if s.Token == "" {
		return diagnostics.Skipped("no token was given (--token-file)")
	}
	id := newRequestID()
	a, err := s.call(ctx, map[string]string{"Authorization": "Bearer " + s.Token, "X-Request-Id": id})
	if err != nil {
		return diagnostics.Failed(err.Error(), "see the server's log")
	}
	log := inTheLog(a, id)
	switch a.status {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return diagnostics.Failed("401: the token is not good here", "sign in again; `gatehouse token inspect` with this configuration says why, and "+log)
	case http.StatusForbidden:
		if _, ours := problemIn(a); !ours {
			return diagnostics.Failed("403, and not from this server", "something in front refuses requests with a token: let them through")
		}
		if a.header.Get("WWW-Authenticate") == "" && len(s.diagnosis.DefaultScopes) > 0 {
			return diagnostics.Failed("403: the token has no scope claim, and provider.default_scopes lacks what every call needs",
				"add "+providers.Quote(strings.Join(s.Config.Scopes.Required, " "))+" (scopes.required) to provider.default_scopes; "+log)
		}
		o := diagnostics.Failed("403: the token lacks a scope", "sign in with "+providers.Quote(strings.Join(s.Config.Scopes.Required, " "))+" (scopes.required); "+log)
		o.Expected = "the token has the scopes that every call needs"
		return o
	case http.StatusServiceUnavailable:
		return diagnostics.Failed("503: the server cannot ask the provider", "see server.ready and the checks of the provider; "+log)
	case http.StatusTooManyRequests:
		return diagnostics.Warning("429: too many bad tokens came from this address lately", "wait a minute, and look again")
	default:
		return diagnostics.Failed(inWords(a), log)
	}
	n, ok := countTools(a)
	switch {
	case !ok:
		return diagnostics.Failed("the answer is not one to tools/list", "see what is in front of the server; "+log)
	case n == 0 && s.Tools == 0:
		return diagnostics.OK("no tool is shown, because the server offers none")
	case n == 0:
		return diagnostics.Warning("no tool is shown to this token", "sign in with the scopes of the tools, or set tools.show_all")
	}
	if n == 1 {
		return diagnostics.OK("1 tool is shown to this token")
	}
	return diagnostics.OK(fmt.Sprintf("%d tools are shown to this token", n))
}

// countTools reads the result of tools/list, as JSON or as the first event that holds a message.
func countTools(a answer) (int, bool) {
	message := a.body
	if strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") {
		message = nil
		for line := range bytes.Lines(a.body) {
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
