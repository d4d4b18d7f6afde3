package configs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Platforms such as Cloud Run and Heroku choose the port and name it in PORT.
func TestListenFollowsPORTOfAPlatform(t *testing.T) {
	public := map[string]string{"provider.kind": "oidc", "provider.issuer": "https://login.example.com",
		"resource": "https://mcp.example.com/mcp"}
	with := func(key, value string) map[string]string {
		flags := map[string]string{key: value}
		for k, v := range public {
			if k != key {
				flags[k] = v
			}
		}
		return flags
	}
	const origin = "environment variable PORT"
	for name, c := range map[string]struct {
		s    Sources
		want Value
		note string // empty: there is none
	}{
		"a public resource": {Sources{Environ: []string{"PORT=8080"}, Flags: public},
			Value{listenKey, ":8080", origin}, ""},
		"server.listen is set": {Sources{Environ: []string{"PORT=8080"}, Flags: with(listenKey, ":3002")},
			Value{listenKey, ":3002", "flag --server.listen"},
			"PORT is 8080, but the server listens on :3002 (server.listen, flag --server.listen); if a platform set " +
				"it, leave"},
		"server.listen has the same port": {Sources{Environ: []string{"PORT=8080"}, Flags: with(listenKey, "127.0.0.1:8080")},
			Value{listenKey, "127.0.0.1:8080", "flag --server.listen"}, ""},
		"a resource on this computer": {Sources{Environ: []string{"PORT=8080"}},
			Value{listenKey, "127.0.0.1:3002", "default"},
			"PORT is 8080, but the server listens on 127.0.0.1:3002 (server.listen, default); if a platform set it, " +
				"set resource"},
		"no port":  {Sources{Flags: public}, Value{listenKey, "127.0.0.1:3002", "default"}, ""},
		"an empty": {Sources{Environ: []string{"PORT="}, Flags: public}, Value{listenKey, "127.0.0.1:3002", "default"}, ""},
		"in .env": {Sources{Dir: filepath.Dir(write(t, ".env", "PORT=8080\n")), Flags: public},
			Value{listenKey, "127.0.0.1:3002", "default"}, ""},
		"not a port": {Sources{Environ: []string{"PORT=tcp://10.0.0.1:80"}},
			Value{listenKey, "127.0.0.1:3002", "default"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := mustLoad(t, c.s)
			if diff := cmp.Diff(c.want, effective(t, config, listenKey)); diff != "" {
				t.Error(diff)
			}
			if notes := strings.Join(config.Notes, "\n"); !strings.Contains(notes, c.note) ||
				c.note == "" && strings.Contains(notes, "PORT") {
				t.Errorf("notes: %s", notes)
			}
		})
	}
	const reason = "its port is not a number from 0 to 65535"
	for _, value := range []string{"http", "70000"} {
		p := mustRefuseOne(t, Sources{Environ: []string{"PORT=" + value}, Flags: public})
		if p.Key != listenKey || p.Origin != origin || p.Reason != reason {
			t.Errorf("%+v", p)
		}
	}
}

// On loopback there is no load balancer that must notice the stop.
func TestDrainTimeIsZeroOnLoopback(t *testing.T) {
	const key = "server.drain_time"
	oidc := func(resource string) map[string]string {
		return map[string]string{"provider.kind": "oidc", "provider.issuer": "https://login.example.com",
			"resource": resource}
	}
	for name, c := range map[string]struct {
		s    Sources
		want Value
	}{
		"the built-in profile": {Sources{}, Value{key, "0s", "derived from resource"}},
		"a resource on loopback": {Sources{Flags: oidc("http://127.0.0.1:4000/mcp")},
			Value{key, "0s", "derived from resource"}},
		"a public resource": {Sources{Flags: oidc("https://mcp.example.com/mcp")}, Value{key, "5s", "default"}},
		"an explicit value": {Sources{Environ: []string{"GATEHOUSE_SERVER__DRAIN_TIME=7s"}},
			Value{key, "7s", "environment variable GATEHOUSE_SERVER__DRAIN_TIME"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, effective(t, mustLoad(t, c.s), key)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
