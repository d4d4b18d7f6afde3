package configs

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheSDKIsNotToldToBehaveAsItOnceDid(t *testing.T) {
	for name, value := range map[string]string{
		"sessions without state":        "allowsessionsinstateless=1",
		"what is harmless":              "hintomitempty=1",
		"what another version may know": "surprise=1,another=0",
	} {
		t.Run(name, func(t *testing.T) {
			got := only(t, Sources{Environ: []string{"MCPGODEBUG=" + value}})
			if got.Key != "MCPGODEBUG" || got.Origin != "environment variable MCPGODEBUG" || got.Value != `"`+value+`"` || got.Reason == "" || got.Fix == "" {
				t.Errorf("the problem is %+v", got)
			}
		})
	}
	t.Run("together with all else that is wrong", func(t *testing.T) {
		var keys []string
		for _, p := range mustRefuse(t, Sources{Environ: []string{"MCPGODEBUG=hintomitempty=1"}, Flags: map[string]string{"log.level": "loud", "provider.kind": "odic"}}) {
			keys = append(keys, p.Key)
		}
		if diff := cmp.Diff([]string{"MCPGODEBUG", "provider.kind", "log.level"}, keys); diff != "" {
			t.Error(diff)
		}
	})
	// An empty variable is one that nobody set, and the SDK reads no files.
	mustLoad(t, Sources{Environ: []string{"MCPGODEBUG=", "NOTMCPGODEBUG=hintomitempty=1"}})
	mustLoad(t, Sources{Dir: filepath.Dir(write(t, ".env", "MCPGODEBUG=hintomitempty=1\n"))})
}
