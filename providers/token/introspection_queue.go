package token

import (
	"context"
	"sync"

	"gatehouse/providers"
)

const (
	// maxQuestions bounds how many questions an issuer is asked at a time: a flood of invented tokens must
	// not reach it.
	maxQuestions = 32
	// reservedQuestions are those of them that are asked only about tokens that were active at their last
	// question.
	reservedQuestions = maxQuestions / 2
	// maxWaiting bounds how many other tokens wait for the end of their question, including those whose
	// callers hung up.
	maxWaiting = 128
	// maxActiveWaiting bounds the same for tokens that were active at their last question.
	maxActiveWaiting = 1_024
	// maxQuestionsPerAddress and maxWaitingPerAddress bound both for the other tokens of one address.
	maxQuestionsPerAddress = 8
	maxWaitingPerAddress   = 32
)

// questionQueue decides which question to the issuer is next. Questions about tokens that were active at
// their last question never wait for the others, which anyone can cause by inventing tokens.
type questionQueue struct {
	// Each holds one element per question that is being asked.
	shared, reserved chan struct{}
	// Each holds one element per token that waits or is being asked about.
	waiting, activeWaiting chan struct{}

	mu        sync.Mutex
	addresses map[string]*addressQuestions
}

// addressQuestions are the questions about unknown tokens that came from one address.
type addressQuestions struct {
	asked   chan struct{}
	waiting int
}

func newQuestionQueue() *questionQueue {
	return &questionQueue{
		shared: make(chan struct{}, maxQuestions-reservedQuestions), reserved: make(chan struct{}, reservedQuestions),
		waiting: make(chan struct{}, maxWaiting), activeWaiting: make(chan struct{}, maxActiveWaiting),
		addresses: map[string]*addressQuestions{},
	}
}

// enter waits until a question may be asked. active says that the token was active at its last question;
// address is where the token came from, empty if that is not known. The caller must call leave after the
// question. An error wraps ErrUnavailable and, unless active, [providers.ErrTooManyUnknown].
func (q *questionQueue) enter(ctx context.Context, active bool, address string) (leave func(), err error) {
	if active {
		return q.enterActive(ctx)
	}
	var entered []func()
	leave = func() {
		for _, undo := range entered {
			undo()
		}
	}
	select {
	case q.waiting <- struct{}{}:
		entered = append(entered, func() { <-q.waiting })
	default:
		return nil, providers.Errorf(providers.ErrTooManyUnknown, providers.ReasonIntrospectionUnavailable, "%d unknown tokens wait already", maxWaiting)
	}
	if address != "" {
		own, ok := q.from(address)
		if !ok {
			leave()
			return nil, providers.Errorf(providers.ErrTooManyUnknown, providers.ReasonIntrospectionUnavailable, "%d unknown tokens of this address wait already", maxWaitingPerAddress)
		}
		entered = append(entered, func() { q.done(address, own) })
		select {
		case own.asked <- struct{}{}:
			entered = append(entered, func() { <-own.asked })
		case <-ctx.Done():
			leave()
			return nil, providers.Errorf(providers.ErrTooManyUnknown, providers.ReasonIntrospectionUnavailable, "%d questions about tokens of this address are open already", maxQuestionsPerAddress)
		}
	}
	select {
	case q.shared <- struct{}{}:
		entered = append(entered, func() { <-q.shared })
		return leave, nil
	case <-ctx.Done():
		leave()
		return nil, providers.Errorf(providers.ErrTooManyUnknown, providers.ReasonIntrospectionUnavailable, "%d questions about unknown tokens are open already", cap(q.shared))
	}
}

func (q *questionQueue) enterActive(ctx context.Context) (leave func(), err error) {
	select {
	case q.activeWaiting <- struct{}{}:
	default:
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%d tokens wait already", maxActiveWaiting)
	}
	select {
	case q.reserved <- struct{}{}:
		return func() { <-q.reserved; <-q.activeWaiting }, nil
	case q.shared <- struct{}{}:
		return func() { <-q.shared; <-q.activeWaiting }, nil
	case <-ctx.Done():
		<-q.activeWaiting
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%d questions are open already", maxQuestions)
	}
}

// from counts one more token of address; ok is false if too many wait already.
func (q *questionQueue) from(address string) (own *addressQuestions, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	own = q.addresses[address]
	if own == nil {
		own = &addressQuestions{asked: make(chan struct{}, maxQuestionsPerAddress)}
		q.addresses[address] = own
	}
	if own.waiting >= maxWaitingPerAddress {
		return nil, false
	}
	own.waiting++
	return own, true
}

func (q *questionQueue) done(address string, own *addressQuestions) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if own.waiting--; own.waiting == 0 {
		delete(q.addresses, address)
	}
}
