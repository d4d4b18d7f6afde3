package configs

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMCPGODEBUGIsRefused(t *testing.T) {
	for name, value := range map[string]string{
		"sessions without state":     "allowsessionsinstateless=1",
		"a harmless value":           "hintomitempty=1",
		"a value of another version": "surprise=1,another=0",
	} {
		t.Run(name, func(t *testing.T) {
			got := mustRefuseOne(t, Sources{Environ: []string{"MCPGODEBUG=" + value}})
			if got.Key != "MCPGODEBUG" || got.Origin != "environment variable MCPGODEBUG" ||
				got.Value != `"`+value+`"` || got.Reason == "" || got.Fix == "" {
				t.Errorf("the problem is %+v", got)
			}
		})
	}
	t.Run("together with other problems", func(t *testing.T) {
		var keys []string
		for _, p := range mustRefuse(t, Sources{Environ: []string{"MCPGODEBUG=hintomitempty=1"},
			Flags: map[string]string{"log.level": "loud", "provider.kind": "odic"}}) {
			keys = append(keys, p.Key)
		}
		if diff := cmp.Diff([]string{"MCPGODEBUG", "provider.kind", "log.level"}, keys); diff != "" {
			t.Error(diff)
		}
	})
	// An empty variable counts as unset, and the SDK reads no files.
	mustLoad(t, Sources{Environ: []string{"MCPGODEBUG=", "NOTMCPGODEBUG=hintomitempty=1"}})
	mustLoad(t, Sources{Dir: filepath.Dir(write(t, ".env", "MCPGODEBUG=hintomitempty=1\n"))})
}
