package providertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse/providers"
)

// Harness makes a fresh [Subject]. Run calls it once for each rule. What it starts must end with t.
type Harness func(t testing.TB) *Subject

// Subject is the adapter under test together with the issuer that it is configured for.
type Subject struct {
	// Issuer signs the tokens that the adapter accepts, and publishes the keys that the adapter fetches.
	Issuer *Issuer

	// Open opens the adapter, usually the Open method of its [providers.Settings]. The settings must point to
	// Issuer and use Issuer.KeyPolicy, because some rules measure whether the adapter keeps to it.
	Open func(context.Context, providers.ServerInfo) (providers.Provider, error)

	// Resource is the resource that the adapter's server protects.
	Resource providers.Resource

	// Good is one token of each variety that the adapter accepts: algorithms, types, audiences, scopes. The
	// rules treat everything else as not accepted. The first variety is the base of all hostile tokens; the
	// suite adds claims to each.
	Good []Variety

	// Refused are tokens that only this adapter has a reason to refuse.
	Refused []NearMiss

	// Except maps the names of rules that do not apply to this adapter to the reason, which Run reports.
	Except map[string]string

	// Timeout bounds how long a rule waits for background work of the adapter. Zero means 5 s.
	Timeout time.Duration
}

// Variety is a kind of token that an adapter accepts.
type Variety struct {
	Name string

	// Header changes the header that [Issuer.Sign] writes; its kid selects the key. Claims change
	// [Issuer.Claims] for the subject's resource. A nil value removes a member.
	Header, Claims map[string]any

	// Want changes the expected identity. The default follows RFC 9068, section 2.2.
	Want func(*providers.Identity)
}

// NearMiss is a token that differs from an accepted one in a detail, and that the adapter refuses.
type NearMiss struct {
	Name string

	// Header and Claims change those of the first good variety; a nil value removes a member.
	Header, Claims map[string]any

	// Want is the expected reason.
	Want providers.Reason
}

// Rule is one requirement on every adapter.
type Rule struct {
	// Name identifies the rule in Except and names its subtest.
	Name string
	// Demand is the requirement in one sentence.
	Demand string
	// Source is the standard and section, or the incident, that the requirement comes from.
	Source string
	// Check opens the adapter and returns how it breaks the rule, or nil.
	Check func(*Subject) error
}

// Rules returns all rules.
func Rules() []Rule { return slices.Concat(tokenRules(), keyRules(), outageRules()) }

// parallelRules is how many rules Run checks at the same time. Most rules spend their time waiting. With many
// more, the work of the others would disturb the rules that measure time.
const parallelRules = 6

// Run checks an adapter against all rules, each in a subtest of its name. The subtest "harness" runs first:
// it opens the adapter and expects the first good token to be accepted. If that fails, the rules do not run.
func Run(t *testing.T, h Harness) {
	t.Helper()
	var except map[string]string
	if !t.Run("harness", func(t *testing.T) {
		s := h(t)
		if err := s.validate(); err != nil {
			t.Fatalf("incomplete harness: %v", err)
		}
		if err := s.acceptsFirstToken(); err != nil {
			t.Fatal(err)
		}
		except = s.Except
	}) {
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallelRules)
	for _, rule := range slices.Backward(Rules()) { // the slowest rules are last in the list
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			t.Run(rule.Name, func(t *testing.T) {
				if why, ok := except[rule.Name]; ok {
					t.Skipf("excepted: %s", why)
				}
				if err := rule.Check(h(t)); err != nil {
					t.Errorf("%s (%s):\n%v", rule.Demand, rule.Source, err)
				}
			})
		})
	}
	wg.Wait()
}

// firstTokenWithin bounds how long the harness waits for the first good token. Together with openWithin it is
// five seconds.
const firstTokenWithin = 3 * time.Second

// acceptsFirstToken opens the adapter and waits until it accepts the first good token. Every rule begins like
// this, so an adapter with a wrong key address would fail all of them for the same reason.
func (s *Subject) acceptsFirstToken() error {
	o, stop, err := s.open()
	if err != nil {
		return err
	}
	defer stop()
	token := o.base.token()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		left := firstTokenWithin - time.Since(start)
		if left <= 0 {
			return fmt.Errorf("the first good token, %q, is not accepted within %s: %w\n%s",
				s.Good[0].Name, firstTokenWithin, err, s.Issuer.traffic())
		}
		// The error of the last attempt that ended by itself is the one that explains.
		_, verifyErr := o.verifyWithin(context.Background(), left, token)
		if verifyErr == nil {
			return nil
		}
		if err == nil || time.Since(start) < firstTokenWithin {
			err = verifyErr
		}
	}
}

// validate returns what is missing in the harness.
func (s *Subject) validate() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if s == nil {
		return errors.New("the harness returned nil")
	}
	if s.Issuer == nil || s.Open == nil || s.Resource == (providers.Resource{}) {
		add("Issuer, Open and Resource are required")
	} else if p := s.Issuer.KeyPolicy; p.RefetchInterval <= 0 || p.MaxAge <= 0 {
		add("Issuer.KeyPolicy needs RefetchInterval and MaxAge, and the adapter must use them")
	}
	if len(s.Good) == 0 {
		add("Good is empty")
	}
	for name, why := range s.Except {
		if !slices.ContainsFunc(Rules(), func(r Rule) bool { return r.Name == name }) {
			add("Except names %q, which is not a rule", name)
		}
		if why == "" {
			add("Except gives no reason for %s", name)
		}
	}
	return errors.Join(problems...)
}
