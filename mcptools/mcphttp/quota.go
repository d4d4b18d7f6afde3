package mcphttp

import (
	"errors"
	"sync"
)

// Why something was not granted. Too many of one's own is for the caller to mend, too many in all is not.
var (
	errTooManyOfYours = errors.New("too many of one caller")
	errTooManyInAll   = errors.New("too many in all")
)

// quota bounds how many of something exist at once, for each caller and in all.
type quota struct {
	perUser, inAll int

	mu    sync.Mutex
	users map[string]int
	total int
}

func newQuota(perUser, inAll int) *quota {
	return &quota{perUser: perUser, inAll: inAll, users: map[string]int{}}
}

// take grants one more to user, or says why not. What was taken must be given back.
func (q *quota) take(user string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := exceeded(q.users[user], q.perUser, q.total, q.inAll); err != nil {
		return err
	}
	q.users[user]++
	q.total++
	return nil
}

func (q *quota) give(user string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.users[user]--; q.users[user] <= 0 {
		delete(q.users, user)
	}
}

// full reports whether take would fail, and why.
func (q *quota) full(user string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return exceeded(q.users[user], q.perUser, q.total, q.inAll)
}

func exceeded(ofUser, perUser, total, inAll int) error {
	switch {
	case ofUser >= perUser:
		return errTooManyOfYours
	case total >= inAll:
		return errTooManyInAll
	}
	return nil
}
