package authserver

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"gatehouse/providers"
)

// callback receives the response of the provider at which a person has signed in. It is accepted from the browser that
// has approved the request, within 10 minutes, and once.
func (i *Issuer) callback(w http.ResponseWriter, r *http.Request) {
	noStore(w.Header())
	w.Header().Set("Referrer-Policy", "no-referrer") // the provider's code and the state are in this page's URL
	query, err := readResponse(r)
	if err != nil {
		i.pages.problem(w, http.StatusBadRequest, "The URL is not a valid response of a sign-in."+againText)
		return
	}
	state := query.Get("state")
	started, ok := i.transactions.startedAt(state)
	if !ok {
		i.config.Logger.InfoContext(r.Context(), "response of the provider refused",
			slog.String("reason", string(ReasonUnknownState)))
		i.pages.problem(w, http.StatusBadRequest, "This server has not started the sign-in that the page belongs to."+
			againText)
		return
	}
	if !i.config.Now().Before(started.Add(transactionLifetime)) {
		i.refuseResponse(r, ReasonSignInExpired, state)
		i.transactions.end(w, state)
		i.pages.explain(w, http.StatusBadRequest, problem{expiredTitle,
			"The sign-in took longer than 10 minutes." + againText})
		return
	}
	attempt, a, err := i.transactions.open(r, state)
	if err != nil {
		i.refuseResponse(r, ReasonForeignBrowser, state)
		i.pages.problem(w, http.StatusForbidden, "The sign-in was not started in this browser, or it is finished already."+
			againText)
		return
	}
	// The provider's code can be used once, whatever happens to it now.
	i.transactions.end(w, state)
	target, err := i.finish(r, attempt, a, query)
	failed := new(SignInError)
	switch {
	case err == nil:
		i.departure.depart(w, r, http.StatusFound, toClient(a, signedInTitle, target))
	case !errors.As(err, &failed):
		i.explainEnded(w, r, err)
	case failed.Reason == ReasonSignInRepeated:
		// The client has the code of the first response, and its error must not follow.
		i.pages.explain(w, http.StatusBadRequest, problem{"Already signed in",
			"The response of this sign-in was used already." + againText})
	default:
		i.fail(w, r, a, failed)
	}
}

// readResponse returns the parameters of the provider's response. None of them may be repeated (RFC 6749, section 3.1).
func readResponse(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, errors.New("too long")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	for _, values := range query {
		if len(values) > 1 {
			return nil, errors.New("a parameter is repeated")
		}
	}
	return query, nil
}

// finish returns the redirect to the client. The error is a [*SignInError].
func (i *Issuer) finish(r *http.Request, attempt Attempt, a *authorization, query url.Values) (string, error) {
	ctx := r.Context()
	id := signInID(attempt.State)
	who, err := i.signIn.Finish(ctx, attempt, query)
	if err != nil {
		event := requestEvent(EventComplete, a)
		event.SignIn, event.Reason = signInDigest(id), signInReason(err)
		i.record(ctx, event)
		return "", err
	}
	_, target, err := i.signedIn(ctx, a, who, id)
	return target, err
}

// refuseResponse records a response for a sign-in that was started here.
func (i *Issuer) refuseResponse(r *http.Request, reason providers.Reason, state string) {
	i.config.Logger.InfoContext(r.Context(), "response of the provider refused", slog.String("reason", string(reason)))
	i.record(r.Context(), providers.SignInEvent{Kind: EventComplete, Reason: reason,
		SignIn: signInDigest(signInID(state))})
}
