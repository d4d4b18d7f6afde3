package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// hangups decides what SIGHUP does. It stops the command gracefully, because a closing terminal sends it, until the
// command takes it for reloads, as service managers use it.
type hangups struct {
	signals chan os.Signal
	stop    func()

	mu    sync.Mutex
	taken chan struct{} // nil until take
}

// watchHangups begins to receive SIGHUP, which calls stop until it is taken. Under nohup it stays ignored.
func watchHangups(stop func()) *hangups {
	h := &hangups{signals: make(chan os.Signal, 1), stop: stop}
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(h.signals, syscall.SIGHUP)
		go h.run()
	}
	return h
}

func (h *hangups) run() {
	for range h.signals {
		taken := h.receiver()
		if taken == nil {
			h.stop()
			return
		}
		select {
		case taken <- struct{}{}:
		default: // one that was not handled yet is enough
		}
	}
}

func (h *hangups) receiver() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.taken
}

// take returns a channel that receives each SIGHUP from now on. Nil hangups receive none.
func (h *hangups) take() <-chan struct{} {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken = make(chan struct{}, 1)
	return h.taken
}

// end lets the next SIGHUP end the process at once, unless it is taken: a reload must not cut a stop short.
func (h *hangups) end() {
	if h.receiver() == nil {
		signal.Stop(h.signals)
	}
}
