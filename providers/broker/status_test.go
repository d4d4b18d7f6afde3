package broker

import (
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
)

// What a browser brings to the callback says nothing about the provider: a stranger must not cause an alarm.
func TestProviderWatch(t *testing.T) {
	x := newFixture(t, nil)
	watch := &providerWatch{now: time.Now}
	event := func(kind string, err error) {
		e := providers.SignInEvent{Kind: kind}
		if failed, ok := err.(*authserver.SignInError); ok {
			e.Reason = failed.Reason
		}
		watch.record(t.Context(), e)
	}
	a := attempt("a")
	for name, value := range map[string][2]string{
		"an invented error": {"error", "x"}, "an error of the list": {"error", "server_error"},
		"an outage in the response": {"error", "temporarily_unavailable"}, "another iss": {"iss", "https://evil.example"},
		"an invented code": {"code", "x"},
	} {
		response := x.approve(t, a)
		response.Set(value[0], value[1])
		_, err := x.Finish(t.Context(), a, response)
		if event(authserver.EventComplete, err); err == nil {
			t.Errorf("%s is accepted", name)
		}
		if problem, _ := watch.state(); problem != "" {
			t.Fatalf("%s: the problem of the provider is %q", name, problem)
		}
	}
	event(authserver.EventRecheck, &authserver.SignInError{Reason: ReasonProviderUnavailable})
	if problem, _ := watch.state(); problem != ReasonProviderUnavailable {
		t.Errorf("after an outage, the problem is %q", problem)
	}
	event(authserver.EventRecheck, nil)
	if problem, confirmed := watch.state(); problem != "" || confirmed.IsZero() {
		t.Errorf("after an answer, the problem is %q, confirmed %s", problem, confirmed)
	}
}
