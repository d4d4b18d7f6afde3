package authserver

import (
	"testing"
	"time"

	"gatehouse/providers/authserver/seal"
)

// The second request of a double click may arrive while the first one is being answered.
func TestMemoryRequests_RequestIsOpenWhileItIsAnswered(t *testing.T) {
	s, now := newMemoryRequests(seal.Random()), time.Now()
	id, err := s.put(now, requestOf("client"))
	if err != nil {
		t.Fatal(err)
	}
	open := make(chan error, 1)
	_, err = s.decide(now, id, answer{decision: approve}, func(_ *authorization, given answer) (answer, error) {
		go func() { open <- s.check(now, id) }()
		time.Sleep(20 * time.Millisecond) // time for check to look too early
		return given, nil
	})
	if isOpen := <-open; err != nil || isOpen != nil {
		t.Errorf("the request is neither pending nor answered: %v, %v", err, isOpen)
	}
}
