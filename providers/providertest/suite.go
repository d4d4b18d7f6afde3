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

// Harness makes a fresh [Subject]. It is called once for every rule, and closes with t what it opened.
type Harness func(t testing.TB) *Subject

// Subject is an adapter as the suite sees it, and the issuer that the adapter was pointed at.
type Subject struct {
	// Issuer signs what the adapter accepts, and publishes the keys that the adapter fetches.
	Issuer *Issuer

	// Open opens the adapter, as [providers.Settings] has it; the method of settings that point to Issuer will do. The
	// adapter must have been told Issuer.KeyPolicy: some rules wait for what it promises.
	Open func(context.Context, providers.ServerInfo) (providers.Provider, error)

	// Resource is what the adapter's server protects.
	Resource providers.Resource

	// Good is one token of each variety that the adapter accepts: algorithms, types, audiences, scopes. What is not shown
	// here counts as not accepted. The first is what all near misses are made from; the suite adds claims to each.
	Good []Variety

	// Refused are near misses that only this adapter knows of.
	Refused []NearMiss

	// Except are the names of rules that cannot be shown of this adapter, each with the reason, which Run reports.
	Except map[string]string

	// Timeout is how long a rule waits for what happens in the background. Zero means 5 s.
	Timeout time.Duration
}

// Variety is a kind of token that an adapter accepts.
type Variety struct {
	Name string

	// Header changes the header that [Issuer.Sign] writes, and names the key by its kid. Claims change the claims of
	// [Issuer.Claims] for the subject's resource. A nil value removes a member.
	Header, Claims map[string]any

	// Want changes what is expected of the identity. By default that is what RFC 9068, section 2.2 reads in the claims.
	Want func(*providers.Identity)
}

// NearMiss is a token that an adapter refuses although little is wrong with it.
type NearMiss struct {
	Name string

	// Header and Claims change those of the first good variety; a nil value removes a member.
	Header, Claims map[string]any

	// Want is the reason of the refusal.
	Want providers.Reason
}

// Rule is one demand on every adapter.
type Rule struct {
	// Name is what an Except and the output of a test call it.
	Name string
	// Demand is what must be true, in a sentence.
	Demand string
	// Source is where the demand comes from: a standard and its section, or an incident.
	Source string
	// Check opens the adapter and returns what it did wrong, or nil.
	Check func(*Subject) error
}

// Rules returns all rules.
func Rules() []Rule { return slices.Concat(tokenRules(), keyRules(), outageRules()) }

// parallelRules is how many rules Run tries at the same time. Most of them wait most of the time; many more, and those that look
// at the clock would see each other's work.
const parallelRules = 6

// Run holds an adapter against all rules, each in a subtest of its name.
func Run(t *testing.T, h Harness) {
	t.Helper()
	var except map[string]string
	if !t.Run("harness", func(t *testing.T) {
		s := h(t)
		if err := s.validate(); err != nil {
			t.Fatalf("it is not complete: %v", err)
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
	for _, rule := range slices.Backward(Rules()) { // those that take longest stand last
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			t.Run(rule.Name, func(t *testing.T) {
				if why, ok := except[rule.Name]; ok {
					t.Skipf("not shown: %s", why)
				}
				if err := rule.Check(h(t)); err != nil {
					t.Errorf("%s (%s):\n%v", rule.Demand, rule.Source, err)
				}
			})
		})
	}
	wg.Wait()
}

// firstTokenWithin bounds how long the harness waits for the first good token. Together with openWithin it is five
// seconds.
const firstTokenWithin = 3 * time.Second

// acceptsFirstToken opens the adapter and waits until it accepts the first good token. Every rule begins like this, so
// an adapter with a wrong key address would fail all of them for the same reason.
func (s *Subject) acceptsFirstToken() error {
	o, stop, err := s.open()
	if err != nil {
		return err
	}
	defer stop()
	token := o.base.token()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		_, err := o.verifyWithin(context.Background(), max(firstTokenWithin-time.Since(start), time.Millisecond), token)
		if err == nil {
			return nil
		}
		if time.Since(start) >= firstTokenWithin {
			return fmt.Errorf("the first good token, %q, is not accepted within %s: %w\n%s",
				s.Good[0].Name, firstTokenWithin, err, s.Issuer.traffic())
		}
	}
}

// complete says what a harness forgot.
func (s *Subject) validate() error {
	var missing []error
	add := func(format string, args ...any) { missing = append(missing, fmt.Errorf(format, args...)) }
	if s == nil {
		return errors.New("there is no subject")
	}
	if s.Issuer == nil || s.Open == nil || s.Resource == (providers.Resource{}) {
		add("issuer, open and resource are needed")
	} else if p := s.Issuer.KeyPolicy; p.RefetchInterval <= 0 || p.MaxAge <= 0 {
		add("the issuer's key policy must name a refetch interval and an age, which the adapter is told")
	}
	if len(s.Good) == 0 {
		add("there is no good token")
	}
	for name, why := range s.Except {
		if !slices.ContainsFunc(Rules(), func(r Rule) bool { return r.Name == name }) {
			add("there is no rule %q to except", name)
		}
		if why == "" {
			add("the exception from %s has no reason", name)
		}
	}
	return errors.Join(missing...)
}
