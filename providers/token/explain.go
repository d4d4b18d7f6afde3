package token

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
)

// Explainer is implemented by a provider that can tell every rule's verdict on a token. It is for people who hold the
// token: `gatehouse token inspect`, and the log at level debug. Callers over the network never see any of it.
type Explainer interface {
	// Explain goes through all rules. If live is false, nothing is asked over the network.
	Explain(ctx context.Context, token string, live bool) Explanation
}

// Explanation is what every rule says of one token. It holds neither the token nor its signature.
type Explanation struct {
	// Findings are in the order in which a token meets the rules.
	Findings []Finding
	// Others are the members that no rule looks at, by name, as they stand.
	Others []Finding

	header, claims rawObject
	rules          Rules
}

// Finding is one rule's verdict.
type Finding struct {
	// Name is what was looked at: "header alg", "claim aud", "signature".
	Name string
	// Got is what stands in the token, fit for a line of text; empty if nothing does.
	Got string
	// Want is what is accepted.
	Want string
	// Reason is why the token is refused for it; empty if it is not.
	Reason providers.Reason
	// Detail says it in a sentence.
	Detail string
	// Skipped says why the rule could not be applied; empty if it was.
	Skipped string
}

// OK reports whether nothing that was looked at speaks against the token. It is accepted if nothing is [Explanation.Unchecked] either.
func (e Explanation) OK() bool {
	return !slices.ContainsFunc(e.Findings, func(f Finding) bool { return f.Reason != "" })
}

// Unchecked returns the first rule that could not be applied; ok is false if all were.
func (e Explanation) Unchecked() (f Finding, ok bool) {
	i := slices.IndexFunc(e.Findings, func(f Finding) bool { return f.Skipped != "" })
	if i < 0 {
		return Finding{}, false
	}
	return e.Findings[i], true
}

// LogValue implements slog.LogValuer: the steps of the decision, each with what stood in the token. Who the caller is and
// what else the token says stays out.
func (e Explanation) LogValue() slog.Value {
	logged := []string{"form", "introspection", "header alg", "header typ", "claim iss", "claim aud", "claim exp", "claim nbf", "claim iat", "signature"}
	for _, name := range slices.Concat(e.rules.ScopeClaims, e.rules.ClientClaims) {
		logged = append(logged, "claim "+name)
	}
	var attrs []slog.Attr
	for _, f := range e.Findings {
		if !slices.Contains(logged, f.Name) && f.Reason == "" {
			continue
		}
		text := cmp.Or(f.Got, "absent")
		switch {
		case !slices.Contains(logged, f.Name):
			text = string(f.Reason)
		case f.Reason != "":
			text += " (" + string(f.Reason) + ", want " + f.Want + ")"
		}
		attrs = append(attrs, slog.String(strings.ReplaceAll(f.Name, " ", "_"), text))
	}
	return slog.GroupValue(attrs...)
}

func (e *Explanation) add(f Finding, err error) {
	var refusal *providers.Error
	if errors.As(err, &refusal) {
		f.Reason, f.Detail = refusal.Reason, refusal.Detail()
	}
	e.Findings = append(e.Findings, f)
}

// Explain implements [Explainer]. The rules are the very ones of Verify; the first that fails is what Verify returns.
func (v *Verifier) Explain(ctx context.Context, token string, live bool) Explanation {
	e := Explanation{rules: v.rules}
	shape := Finding{Name: "form", Got: fmt.Sprintf("%d bytes", len(token)), Want: fmt.Sprintf("a signed JWT of at most %d bytes", v.rules.MaxTokenBytes)}
	header, payload, err := splitCompact(token, v.rules.MaxTokenBytes)
	if err == nil {
		e.header, err = parseHeader(header)
	}
	e.add(shape, err)
	if err != nil {
		return e
	}
	for _, check := range v.headerChecks {
		e.apply(v, check, "header ", e.header, nil)
	}
	var raw []byte
	if e.claims, raw, err = v.parseClaims(payload); err != nil {
		e.add(Finding{Name: "claims", Want: "base64url of a JSON object with distinct members"}, err)
		return e
	}
	id := &providers.Identity{}
	for _, check := range v.claimChecks {
		e.apply(v, check, "claim ", e.claims, id)
	}
	e.signature(ctx, v, token, header, raw, live)
	e.others(v)
	return e
}

// ExplainForLog is [Verifier.Explain] without the network, for the log at level debug.
func (v *Verifier) ExplainForLog(ctx context.Context, token string) slog.LogValuer {
	return v.Explain(ctx, token, false)
}

func (e *Explanation) apply(v *Verifier, c check, what string, members rawObject, id *providers.Identity) {
	names := c.names(v.rules)
	if len(names) == 0 {
		return // the rule is not in use
	}
	f := Finding{Name: what + names[0], Want: c.want(v.rules)}
	for _, name := range names {
		if raw, ok, err := members.lookup(name); ok && err == nil {
			f.Name, f.Got = what+name, shownMember(name, raw, v.rules.Now())
			break
		}
	}
	e.add(f, c.test(v, members, id))
}

func (e *Explanation) signature(ctx context.Context, v *Verifier, token, header string, payload []byte, live bool) {
	kid, _ := e.header.str("kid")
	f := Finding{Name: "signature", Got: "by key " + providers.Quote(kid), Want: "by a key that the issuer publishes"}
	if kid == "" {
		f.Got = "by a key without an id"
	}
	err := v.checkHeader(header)
	switch {
	case err != nil:
		f.Skipped = "the header is refused already"
	case !live && checkSignatureForm(token) == nil:
		f.Skipped = "nothing was asked over the network"
	default:
		if keys, ok := v.keys.(interface{ awaitFirst(context.Context) }); ok && live {
			keys.awaitFirst(ctx)
		}
		err = v.checkSignature(ctx, token, payload)
		if errors.Is(err, providers.ErrUnavailable) {
			f.Skipped, err = err.Error(), nil
		}
		e.add(f, err)
		return
	}
	e.Findings = append(e.Findings, f)
}

func (e *Explanation) others(v *Verifier) {
	looked := map[string]bool{}
	for _, check := range v.claimChecks {
		for _, name := range check.names(v.rules) {
			looked[name] = true
		}
	}
	claims := e.claims.members()
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if !looked[name] {
			e.Others = append(e.Others, Finding{Name: "claim " + quotedUnlessPlain(name), Got: shownMember(name, claims[name], v.rules.Now())})
		}
	}
}

func quotedUnlessPlain(name string) string {
	if quoted := providers.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// shownMember is a value on one line of plain text, cut; times are in words too.
func shownMember(name string, raw json.RawMessage, now time.Time) string {
	if slices.Contains([]string{"exp", "nbf", "iat", "auth_time"}, name) {
		if t, err := timeIn(raw); err == nil {
			return string(raw[:min(len(raw), 30)]) + " (" + inTime(t.Sub(now)) + ", " + t.UTC().Format(time.RFC3339) + ")"
		}
	}
	text := strings.TrimPrefix(providers.Quote(string(raw)), `"`)
	text, cut := strings.CutSuffix(text, `"...`)
	if cut {
		text += "..."
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(text, `"`))
}

// inTime says a span as people do: in 9m20s, 3h ago.
func inTime(d time.Duration) string {
	if d < 0 {
		return shortSpan(-d) + " ago"
	}
	return "in " + shortSpan(d)
}

func shortSpan(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return d.Round(time.Second).String()
	}
}
