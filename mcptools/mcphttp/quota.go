package mcphttp

import (
	"errors"
	"sync"
)

// The limits that a request can exceed.
var (
	errUserLimit  = errors.New("the limit of one caller is reached")
	errTotalLimit = errors.New("the limit of all callers is reached")
)

// quota bounds a number of calls, streams or bytes, for each caller and in total. It is safe for concurrent use.
type quota struct {
	mu                   sync.Mutex
	maxPerUser, maxTotal int
	users                map[string]int
	total                int
}

func newQuota(maxPerUser, maxTotal int) *quota {
	return &quota{maxPerUser: maxPerUser, maxTotal: maxTotal, users: map[string]int{}}
}

// setLimits changes the limits. What was acquired stays.
func (q *quota) setLimits(maxPerUser, maxTotal int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxPerUser, q.maxTotal = maxPerUser, maxTotal
}

// acquire adds one for user. The error is errUserLimit or errTotalLimit. The caller must release it.
func (q *quota) acquire(user string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.exceeded(user); err != nil {
		return err
	}
	q.add(user, 1)
	return nil
}

// release gives n back.
func (q *quota) release(user string, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(user, -n)
}

// add changes the number of user; mu must be held.
func (q *quota) add(user string, n int) {
	q.total += n
	if q.users[user] += n; q.users[user] <= 0 {
		delete(q.users, user)
	}
}

// full returns the error that acquire would return.
func (q *quota) full(user string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.exceeded(user)
}

// exceeded returns the error of acquire; mu must be held.
func (q *quota) exceeded(user string) error {
	switch {
	case q.users[user] >= q.maxPerUser:
		return errUserLimit
	case q.total >= q.maxTotal:
		return errTotalLimit
	}
	return nil
}
