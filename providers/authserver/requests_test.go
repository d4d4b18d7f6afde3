package authserver

import (
	"testing"
	"time"
)

// The second request of a double click may arrive while the first one is being answered.
func TestStore_RequestIsOpenWhileItIsAnswered(t *testing.T) {
	s, now := newStore(), time.Now()
	id := s.putRequest(now, &authorization{client: &client{id: "client"}})
	isOpen := make(chan bool, 1)
	_, err := s.decide(now, id, answer{decision: approve}, func(_ *authorization, given answer) (answer, error) {
		go func() { isOpen <- s.isOpen(now, id) }()
		time.Sleep(20 * time.Millisecond) // time for isOpen to look too early
		return given, nil
	})
	if err != nil || !<-isOpen {
		t.Errorf("the request is neither pending nor answered; %v", err)
	}
}
