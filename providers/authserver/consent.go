package authserver

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
)

// showConsent is the page on which a person approves or denies a request.
func (i *Issuer) showConsent(w http.ResponseWriter, r *http.Request) {
	now, id := i.config.Now(), r.URL.Query().Get("request")
	a, err := i.requests.show(now, id)
	if err != nil {
		i.explainEnded(w, r, err)
		return
	}
	view := i.newConsentView(a)
	view.RequestID, view.Token = id, i.guard.issue(w, r, now, id)
	i.pages.render(w, http.StatusOK, i.wording.consent, "Sign in", view, a.redirectURI)
}

// explainEnded shows the page of an [*endedError].
func (i *Issuer) explainEnded(w http.ResponseWriter, r *http.Request, err error) {
	ended := new(endedError)
	if !errors.As(err, &ended) {
		i.config.Logger.ErrorContext(r.Context(), "authorization response", slog.Any("error", err))
		i.pages.problem(w, http.StatusInternalServerError, "Internal error.")
		return
	}
	i.pages.explain(w, ended.status, ended.problem)
}

// decideConsent handles the form. A redirect of its response is a 303, so that the browser continues with GET; after a
// 307 it would post the form to the client (RFC 9700, section 4.12).
func (i *Issuer) decideConsent(w http.ResponseWriter, r *http.Request) {
	if err := readForm(w, r); err != nil {
		i.pages.problem(w, http.StatusBadRequest, "The form is incomplete.")
		return
	}
	now, id := i.config.Now(), r.PostForm.Get("request")
	if err := i.requests.check(now, id); err != nil {
		i.explainEnded(w, r, err)
		return
	}
	if !i.guard.check(r, id, r.PostForm.Get("token")) {
		i.config.Logger.InfoContext(r.Context(), "consent form of another browser refused",
			slog.String("reason", string(ReasonForeignBrowser)))
		i.pages.problem(w, http.StatusForbidden,
			"The form was not sent from the page of this browser. Start again in the application.")
		return
	}
	given, complete := i.readAnswer(r.PostForm)
	if !complete {
		i.pages.problem(w, http.StatusBadRequest, "The form is incomplete.")
		return
	}
	var request *authorization
	done, err := i.requests.decide(now, id, given, func(a *authorization, given answer) (answer, error) {
		request = a
		return i.respond(w, r, a, given)
	})
	if failed := new(SignInError); errors.As(err, &failed) {
		i.fail(w, r, request, failed)
		return
	}
	if err != nil {
		i.explainEnded(w, r, err)
		return
	}
	i.guard.answered(w, r, id)
	if i.isSpent(r.Context(), done.code) {
		// Another redirect would send a used code, which revokes what was issued for it.
		i.pages.explain(w, http.StatusOK, problem{signedInTitle, "The application has received your approval. " +
			"You can close this page and return to it."})
		return
	}
	i.departure.depart(w, r, http.StatusSeeOther, done.next)
}

// readAnswer returns the answer in a form. It is incomplete without a decision, or if it approves as none of the people
// that the page offers.
func (i *Issuer) readAnswer(form url.Values) (given answer, complete bool) {
	given.decision = decision(form.Get("decision"))
	people := i.signIn.Choices()
	known := len(people) == 0
	if chosen, ok := findPerson(people, form.Get("person")); ok {
		given.choice, known = chosen.Subject, true
	}
	return given, given.decision == deny || given.decision == approve && known
}

// respond completes an answer with where the browser goes: to the client, or to where the person signs in. The error is
// a [*SignInError] or that of approve.
func (i *Issuer) respond(w http.ResponseWriter, r *http.Request, a *authorization, given answer) (answer, error) {
	ctx := r.Context()
	i.recordDecision(ctx, a, given.decision)
	if given.decision == deny {
		target, err := i.deny(a)
		given.next = toClient(a, "Denied", target)
		return given, err
	}
	now := i.config.Now()
	attempt := i.transactions.attempt(now)
	attempt.Choice, attempt.LoginHint = given.choice, a.loginHint
	who, address, err := i.signIn.Begin(ctx, attempt)
	switch {
	case err != nil:
		event := requestEvent(EventComplete, a)
		event.Reason = signInReason(err)
		i.record(ctx, event)
		return given, err
	case who != nil:
		var target string
		given.code, target, err = i.signedIn(ctx, a, *who, "")
		given.next = toClient(a, signedInTitle, target)
		return given, err
	}
	i.transactions.start(w, r, now, attempt, a)
	given.next = toProvider(address)
	return given, nil
}
