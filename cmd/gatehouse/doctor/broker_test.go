package doctor_test

import (
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
)

func TestHealthyBrokerHasNoProblem(t *testing.T) {
	e := newEnv(t)
	useBroker(t, e)
	results := e.open().examine()
	if got := problems(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	for _, r := range results {
		if r.Expected == "" || r.Verdict == diagnostics.VerdictOK && r.Found == "" ||
			r.Verdict == diagnostics.VerdictSkipped && r.Reason == "" {
			t.Errorf("%+v lacks a text", r)
		}
	}
	e.showsNoCanary(results)
	t.Log(text(results))
}

func TestHealthyBrokerAlone(t *testing.T) {
	e := newEnv(t)
	useBroker(t, e)
	e.alone = true
	results := e.open().examine()
	if got := problems(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	for _, r := range results {
		if strings.HasPrefix(r.Name, "server.challenge") || r.Name == "server.metadata" {
			t.Errorf("%+v", r)
		}
	}
	t.Log(text(results))
}
