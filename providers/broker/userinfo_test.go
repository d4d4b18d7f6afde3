package broker

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/authserver"
)

// answerUserinfo makes the userinfo endpoint answer, and checks the access token.
func (f *foreign) answerUserinfo(status int, claims object) {
	f.userinfo = func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer access-") {
			f.t.Errorf("Authorization: %s", r.Header.Get("Authorization"))
		}
		writeJSON(w, status, claims)
	}
}

// withUserinfo announces the userinfo endpoint.
func (x *fixture) withUserinfo() *fixture {
	return x.withMetadata(func(f *foreign) object { return object{"userinfo_endpoint": f.URL + "/userinfo"} })
}

func TestUpstream_Userinfo(t *testing.T) {
	t.Parallel()
	outage := want{reason: ReasonProviderUnavailable, code: "temporarily_unavailable"}
	denied := want{reason: authserver.ReasonAccountNotAllowed, code: "access_denied"}
	none, alice := object{"groups": nil}, object{"sub": "alice", "groups": []string{"mcp"}}
	for name, c := range map[string]struct {
		claims   object // of the ID token
		status   int
		userinfo object
		want     want
		asked    bool
	}{
		"groups are in the ID token":      {nil, 200, object{"sub": "alice", "groups": []string{"x"}}, want{}, false},
		"groups are only in userinfo":     {none, 200, alice, want{}, true},
		"the ID token counts, not both":   {object{"groups": []string{"x"}}, 200, alice, denied, false},
		"groups are nowhere":              {none, 200, object{"sub": "alice"}, denied, true},
		"userinfo of another person":      {none, 200, object{"sub": "bob", "groups": "mcp"}, denied, true},
		"userinfo without sub":            {none, 200, object{"groups": "mcp"}, outage, true},
		"userinfo refuses":                {none, 403, alice, outage, true},
		"userinfo is down":                {none, 500, nil, outage, true},
		"userinfo is not an object":       {none, 200, nil, outage, true},
		"userinfo has a claim in capital": {none, 200, object{"sub": "alice", "GROUPS": "mcp"}, outage, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil).withUserinfo()
			x.provider.claims = with(c.claims)
			x.provider.answerUserinfo(c.status, c.userinfo)
			asked, serve := false, x.provider.userinfo
			x.provider.userinfo = func(w http.ResponseWriter, r *http.Request) {
				asked = true
				serve(w, r)
			}
			who, err := x.finish(t, attempt("a"))
			if c.want != (want{}) {
				x.check(t, err, c.want)
			} else if diff := cmp.Diff([]string{"mcp:use"}, who.Scopes); err != nil || diff != "" {
				t.Error(err, diff)
			}
			if asked != c.asked {
				t.Errorf("userinfo was asked: %v", asked)
			}
		})
	}
	t.Run("no access token for it", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil).withUserinfo()
		x.provider.claims, x.provider.answer = with(object{"groups": nil}), with(object{"token_type": "DPoP"})
		_, err := x.finish(t, attempt("a"))
		x.check(t, err, want{reason: authserver.ReasonAccountNotAllowed, code: "access_denied"})
	})
}

func TestUpstream_RenewWithoutIDToken(t *testing.T) {
	t.Parallel()
	changed := want{reason: authserver.ReasonAccountChanged, code: "access_denied", gone: true}
	denied := want{reason: authserver.ReasonAccountNotAllowed, code: "access_denied", gone: true}
	outage := want{reason: ReasonProviderUnavailable, code: "temporarily_unavailable"}
	alice := object{"sub": "alice", "groups": []string{"mcp"}}
	odd := object{"sub": "alice", "groups": object{"mcp": true}}
	both, use := []string{"mcp:use", "greet:read"}, []string{"mcp:use"}
	for name, c := range map[string]struct {
		// fromUserinfo is set if the groups were in userinfo at the sign-in, too.
		fromUserinfo bool
		// status and userinfo are the answer at the refresh; no endpoint if zero.
		status   int
		userinfo object
		scopes   []string
		want     want
	}{
		"no userinfo endpoint":                   {false, 0, nil, both, want{}},
		"userinfo has no groups, as before":      {false, 200, object{"sub": "alice"}, both, want{}},
		"userinfo has groups":                    {false, 200, alice, use, want{}},
		"row 33 groups removed from userinfo":    {true, 200, alice, use, want{}},
		"row 33 all groups removed":              {true, 200, object{"sub": "alice"}, nil, denied},
		"row 33 groups of another shape":         {true, 200, odd, nil, denied},
		"row 29 userinfo of another person":      {false, 200, object{"sub": "bob"}, nil, changed},
		"row 29 userinfo of another tenant":      {false, 200, object{"sub": "alice", "tid": "two"}, nil, changed},
		"row 29 userinfo with another subject":   {false, 200, object{"sub": "alice", "oid": "two"}, nil, changed},
		"row 56 userinfo is down":                {true, 503, nil, nil, outage},
		"row 56 userinfo refuses the new token":  {true, 401, nil, nil, outage},
		"row 56 userinfo answers with a page":    {false, 200, nil, nil, outage},
		"row 56 userinfo answers without a name": {false, 200, object{"groups": []string{"mcp"}}, nil, outage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, func(c *upstreamConfig) {
				c.Rules = mustRules(t, "groups=mcp > mcp:use, groups=readers > greet:read")
				c.SubjectClaim = "oid"
			})
			if c.status > 0 {
				x.withUserinfo()
			}
			claims := object{"tid": "one", "oid": "one", "groups": []string{"mcp", "readers"}}
			if c.fromUserinfo {
				x.provider.answerUserinfo(200, object{"sub": "alice", "groups": claims["groups"]})
				claims["groups"] = nil
			}
			x.provider.claims = with(claims)
			who := x.signIn(t)
			x.provider.set(func(f *foreign) {
				f.answer = with(object{"id_token": nil})
				f.answerUserinfo(c.status, c.userinfo)
			})
			again, err := x.renew(t, who)
			if c.want != (want{}) {
				x.check(t, err, c.want)
			} else if diff := cmp.Diff(c.scopes, again.Scopes); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

func TestUpstream_RenewWithUserinfo(t *testing.T) {
	t.Parallel()
	x := newFixture(t, func(c *upstreamConfig) {
		c.Rules = mustRules(t, "groups=mcp > mcp:use, groups=readers > greet:read")
	}).withUserinfo()
	x.provider.claims = with(object{"groups": nil})
	x.provider.answerUserinfo(200, object{"sub": "alice", "groups": []string{"mcp", "readers"}})
	who := x.signIn(t)
	x.provider.set(func(f *foreign) { f.answerUserinfo(200, object{"sub": "alice", "groups": "mcp"}) })
	again, err := x.renew(t, who)
	if diff := cmp.Diff([]string{"mcp:use"}, again.Scopes); diff != "" || err != nil {
		t.Error(err, diff)
	}
}
