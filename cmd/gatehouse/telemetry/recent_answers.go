package telemetry

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

// answerInterval is for how long an answer is sent again. Making the page or the metrics takes more CPU time than a
// call, and anyone who reaches the listener can ask for them as fast as the network allows.
const answerInterval = time.Second

// recentAnswers keeps the last answer to each of few requests. The zero value is ready for use.
type recentAnswers struct {
	mu  sync.Mutex // held while an answer is made: requests that come meanwhile wait for it
	all map[string]*keptAnswer
}

// keptAnswer is an answer. It is the http.ResponseWriter that it is made with.
type keptAnswer struct {
	made   time.Time
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *keptAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *keptAnswer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *keptAnswer) Write(text []byte) (int, error) { return a.body.Write(text) }

// serve sends the answer to the requests of that name, which must come from a closed list. If the last one is too
// old, serve makes another.
func (r *recentAnswers) serve(w http.ResponseWriter, name string, answer func(http.ResponseWriter)) {
	kept := r.get(name, w.Header(), answer)
	header := w.Header()
	clear(header)
	for field, values := range kept.header {
		header[field] = values
	}
	w.WriteHeader(kept.status)
	_, _ = w.Write(kept.body.Bytes()) // an error means that the reader is gone
}

func (r *recentAnswers) get(name string, common http.Header, answer func(http.ResponseWriter)) *keptAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept := r.all[name]; kept != nil && time.Since(kept.made) < answerInterval {
		return kept
	}
	kept := &keptAnswer{made: time.Now(), header: common.Clone(), status: http.StatusOK}
	answer(kept)
	if r.all == nil {
		r.all = map[string]*keptAnswer{}
	}
	r.all[name] = kept
	return kept
}
