package doctor

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// identity warns where the upstream acts for everybody with the credential of this server, and cannot tell callers
// apart.
func (u *upstreamChecks) identity(context.Context) diagnostics.Outcome {
	s, found := u.settings, u.result()
	switch {
	case s.Identity == upstream.IdentityJWT && found != nil && found.HasSession:
		return diagnostics.Warning("its session belongs to this server, and the calls in it have the tokens of callers: "+
			"some servers of MCP "+found.Era+" refuse that", "if calls fail with upstream_refused, use a server of MCP "+
			"2026-07-28 or one without sessions, or identity: headers")
	case s.Identity != upstream.IdentityNone:
		return diagnostics.OK(s.Identity)
	case s.Authorization == "":
		return diagnostics.OK("none: the upstream does not learn who calls")
	}
	var open []string
	for i, rule := range s.Rules() {
		if len(providers.MissingScopes(u.Settings.Scopes.Required, rule.Scopes)) == 0 {
			open = append(open, strconv.Itoa(i+1))
		}
	}
	if len(open) > 0 {
		return diagnostics.Warning("every caller may do with the credential of this server what the tools of line "+
			list(open)+" of "+u.setting("tools")+" can", "give these tools scopes of their own, as in read_* > "+s.Name+
			":read, or set "+u.setting("identity"))
	}
	return diagnostics.OK("none, and each tool needs a scope of its own")
}

func (u *upstreamChecks) keysURL() string { return u.Settings.Resource.Origin() + u.KeysPath }

// keys checks that upstreams find the keys where clients find this server.
func (u *upstreamChecks) keys(ctx context.Context) diagnostics.Outcome {
	const fix = "a proxy in front must forward it; if the key file was replaced, restart the server"
	r, err := u.network.request(ctx, http.MethodGet, u.keysURL(), "", map[string]string{"Accept": acceptKeys})
	if err != nil {
		return diagnostics.Failed("at "+u.keysURL()+": "+err.Error(), fix)
	}
	published, ok := keyIDs(r.body)
	if r.status != http.StatusOK || !ok {
		return diagnostics.Failed("at "+u.keysURL()+": "+describe(r), fix)
	}
	own, _ := keyIDs(u.Upstreams.Minter.KeySet())
	if u.Settings.UpstreamKey.KeyFile != "" && !slices.ContainsFunc(own, func(id string) bool {
		return slices.Contains(published, id)
	}) {
		return diagnostics.Failed("at "+u.keysURL()+": other keys than that in upstreams.key_file", fix)
	}
	return diagnostics.OK(u.keysURL())
}

// keyIDs returns the IDs of the keys in a JSON Web Key Set. It is not ok if there is none.
func keyIDs(document []byte) (ids []string, ok bool) {
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if json.Unmarshal(document, &set) != nil || len(set.Keys) == 0 {
		return nil, false
	}
	for _, key := range set.Keys {
		ids = append(ids, key.ID)
	}
	return ids, true
}
