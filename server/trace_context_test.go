package server

import (
	"net/http"
	"strings"
	"testing"
)

// The fields are valid as W3C Trace Context says, or as if they were not there.
func TestTraceContext_IsStrict(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	const good = "00-" + trace + "-" + span + "-01"
	for name, c := range map[string]struct {
		parents, states []string
		trace, state    string
		sampled         bool
	}{
		"sampled":            {parents: []string{good}, trace: trace, sampled: true},
		"not sampled":        {parents: []string{"00-" + trace + "-" + span + "-00"}, trace: trace},
		"a later version":    {parents: []string{"cc-" + trace + "-" + span + "-01-what-comes"}, trace: trace, sampled: true},
		"none":               {},
		"empty":              {parents: []string{""}},
		"too short":          {parents: []string{good[:52]}},
		"more in version 00": {parents: []string{good + "-x"}},
		"upper case":         {parents: []string{strings.ToUpper(good)}},
		"version ff":         {parents: []string{"ff" + good[2:]}},
		"a trace of zeros":   {parents: []string{"00-" + strings.Repeat("0", 32) + "-" + span + "-01"}},
		"a span of zeros":    {parents: []string{"00-" + trace + "-" + strings.Repeat("0", 16) + "-01"}},
		"another character":  {parents: []string{"00-" + trace[:31] + `"-` + span + "-01"}},
		"two fields":         {parents: []string{good, good}},
		"a state": {
			parents: []string{good}, states: []string{"a=1", "b@v=2"}, trace: trace, state: "a=1,b@v=2", sampled: true,
		},
		"a state that is not valid": {parents: []string{good}, states: []string{"A=1"}, trace: trace, sampled: true},
		"a state that is too long": {
			parents: []string{good}, states: []string{"a=" + strings.Repeat("x", 200), "b=" + strings.Repeat("x", 200),
				"c=" + strings.Repeat("x", 200)}, trace: trace, sampled: true,
		},
		"a state alone": {states: []string{"a=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			for _, parent := range c.parents {
				header.Add("traceparent", parent)
			}
			for _, state := range c.states {
				header.Add("tracestate", state)
			}
			got := headerContext(header).span()
			if got.IsValid() != (c.trace != "") || got.IsValid() && got.TraceID().String() != c.trace {
				t.Errorf("valid: %t, trace %s", got.IsValid(), got.TraceID())
			}
			if got.IsSampled() != c.sampled || got.TraceState().String() != c.state || got.IsValid() && !got.IsRemote() {
				t.Errorf("%+v", got)
			}
		})
	}
}
