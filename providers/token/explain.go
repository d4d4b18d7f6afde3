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

// Explainer is implemented by a provider that can report the result of every check of a token. `gatehouse
// token inspect` and the log at level debug show the results; a response never contains them.
type Explainer interface {
	// Explain applies all checks. If live is false, it makes no requests.
	Explain(ctx context.Context, token string, live bool) Explanation
}

// Explanation has the results of all checks of one token. It contains neither the token nor its signature.
type Explanation struct {
	// Findings are in the order of the checks.
	Findings []Finding
	// Others are the claims that no check reads, by name.
	Others []Finding

	header, claims rawObject
	rules          Rules
	// shape is set if the token is no signed JWT, and its form shows what it is.
	shape Hint
	// identity is set if all checks of the claims passed.
	identity *providers.Identity
}

// Finding is the result of one check.
type Finding struct {
	// Name is what was checked: "header alg", "claim aud", "signature".
	Name string
	// Got is the value in the token, on one line; empty if it is absent.
	Got string
	// Want is what is accepted.
	Want string
	// Reason is why the token is refused; empty if the check passed or was skipped.
	Reason providers.Reason
	// Detail is the message of the refusal.
	Detail string
	// Skipped is why the check could not be applied; empty if it was.
	Skipped string
}

// skippedOffline is [Finding.Skipped] where a check needs a request and live is false.
const skippedOffline = "no request was made over the network"

// OK reports whether no check failed. The token is accepted if none is [Explanation.Unchecked] either.
func (e Explanation) OK() bool {
	return !slices.ContainsFunc(e.Findings, func(f Finding) bool { return f.Reason != "" })
}

// Unchecked returns the first check that could not be applied; ok is false if all were.
func (e Explanation) Unchecked() (f Finding, ok bool) {
	i := slices.IndexFunc(e.Findings, func(f Finding) bool { return f.Skipped != "" })
	if i < 0 {
		return Finding{}, false
	}
	return e.Findings[i], true
}

// LogValue implements slog.LogValuer: the checks with the values that they read. The caller and other claims
// are left out.
func (e Explanation) LogValue() slog.Value {
	logged := []string{"form", "introspection", "header alg", "header typ", "claim iss", "claim aud",
		"claim exp", "claim nbf", "claim iat", "signature"}
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
	var refused *providers.Error
	if errors.As(err, &refused) {
		f.Reason, f.Detail = refused.Reason, refused.Detail()
	}
	e.Findings = append(e.Findings, f)
}

// Explain implements [Explainer]. It applies the checks of Verify, which returns the first that fails.
func (v *Verifier) Explain(ctx context.Context, token string, live bool) Explanation {
	e := Explanation{rules: v.rules}
	e.shape, _ = shapeHint(token)
	form := Finding{Name: "form", Got: fmt.Sprintf("%d bytes", len(token)),
		Want: fmt.Sprintf("a signed JWT of at most %d bytes", v.rules.MaxTokenBytes)}
	header, payload, err := splitCompact(token, v.rules.MaxTokenBytes)
	if err == nil {
		e.header, err = parseHeader(header)
	}
	e.add(form, err)
	if err != nil {
		return e
	}
	for _, check := range v.headerChecks {
		e.addCheck(v, check, "header ", e.header, nil)
	}
	var raw []byte
	if e.claims, raw, err = v.parseClaims(payload); err != nil {
		e.add(Finding{Name: "claims", Want: "base64url of a JSON object with distinct members"}, err)
		return e
	}
	id := &providers.Identity{}
	for _, check := range v.claimChecks {
		e.addCheck(v, check, "claim ", e.claims, id)
	}
	e.identity, _ = v.checkClaims(e.claims) // the error is among the findings
	e.addSignature(ctx, v, token, header, raw, live)
	e.addOthers(v)
	return e
}

// ExplainForLog is [Verifier.Explain] without network access, for the log at level debug.
func (v *Verifier) ExplainForLog(ctx context.Context, token string) slog.LogValuer {
	return v.Explain(ctx, token, false)
}

// addCheck applies a check. prefix is that of the finding's name: "header " or "claim ".
func (e *Explanation) addCheck(
	v *Verifier, c check, prefix string, members rawObject, id *providers.Identity,
) {
	names := c.names(v.rules)
	if len(names) == 0 {
		return // the check is not in use
	}
	f := Finding{Name: prefix + names[0], Want: c.want(v.rules)}
	for _, name := range names {
		if raw, ok, err := members.lookup(name); ok && err == nil {
			f.Name, f.Got = prefix+name, displayMember(name, raw, v.rules.Now())
			break
		}
	}
	e.add(f, c.test(v, members, id))
}

func (e *Explanation) addSignature(
	ctx context.Context, v *Verifier, token, header string, payload []byte, live bool,
) {
	kid, _ := e.header.str("kid")
	f := Finding{Name: "signature", Got: "by key " + providers.Quote(kid),
		Want: "by a key that the issuer publishes"}
	if kid == "" {
		f.Got = "by a key without an id"
	}
	err := v.checkHeader(header)
	switch {
	case err != nil:
		f.Skipped = "the header is already refused"
	case !live && checkSignatureForm(token) == nil:
		f.Skipped = skippedOffline
	default:
		if keys, ok := v.keys.(interface{ waitForKeys(context.Context) }); ok && live {
			keys.waitForKeys(ctx)
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

// addOthers adds the claims that no check reads.
func (e *Explanation) addOthers(v *Verifier) {
	checked := map[string]bool{}
	for _, check := range v.claimChecks {
		for _, name := range check.names(v.rules) {
			checked[name] = true
		}
	}
	claims := e.claims.members()
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if !checked[name] {
			e.Others = append(e.Others, Finding{
				Name: "claim " + quotedUnlessPlain(name), Got: displayMember(name, claims[name], v.rules.Now()),
			})
		}
	}
}

func quotedUnlessPlain(name string) string {
	if quoted := providers.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// displayMember formats a value on one line, truncated. A time is also shown relative to now.
func displayMember(name string, raw json.RawMessage, now time.Time) string {
	if slices.Contains([]string{"exp", "nbf", "iat", "auth_time"}, name) {
		if t, err := timeIn(raw); err == nil {
			number := string(raw[:min(len(raw), 30)])
			return number + " (" + relativeTime(t.Sub(now)) + ", " + t.UTC().Format(time.RFC3339) + ")"
		}
	}
	text := strings.TrimPrefix(providers.Quote(string(raw)), `"`)
	text, cut := strings.CutSuffix(text, `"...`)
	if cut {
		text += "..."
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(text, `"`))
}

// relativeTime formats a duration from now: in 9m20s, 3h ago.
func relativeTime(d time.Duration) string {
	if d < 0 {
		return shortDuration(-d) + " ago"
	}
	return "in " + shortDuration(d)
}

func shortDuration(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return d.Round(time.Second).String()
	}
}
