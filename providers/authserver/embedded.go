package authserver

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"

	"gatehouse/providers"
)

// Routes returns the routes of the issuer, embedded or alone.
func (i *Issuer) Routes() []providers.Route {
	open := i.OpenCORSPaths()
	var routes []providers.Route
	for _, path := range i.Paths() {
		routes = append(routes, providers.Route{Path: path, Handler: i.handler, AnyOrigin: slices.Contains(open, path)})
	}
	return routes
}

// Transport passes GET requests to a handler in the same process. The keys of an embedded issuer are fetched
// through it: the code path is that of a remote issuer, but does not depend on when and where the server listens.
func Transport(handler http.Handler) http.RoundTripper { return handlerTransport{handler} }

type handlerTransport struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper. Like net/http for its handlers, it completes the request and
// recovers panics: the fetch runs in a goroutine of its own, where a panic would end the process.
func (t handlerTransport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil {
			resp, err = nil, errors.New("the handler panicked")
		}
	}()
	incoming := r.Clone(r.Context())
	incoming.Host, incoming.RequestURI, incoming.Body = r.URL.Host, r.URL.RequestURI(), http.NoBody
	w := &memoryResponse{header: make(http.Header)}
	t.handler.ServeHTTP(w, incoming)
	w.WriteHeader(http.StatusOK) // no effect if the handler has set a status
	return &http.Response{
		StatusCode: w.status, Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// memoryResponse buffers a response. Only the first status that is written takes effect.
type memoryResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *memoryResponse) Header() http.Header { return w.header }

func (w *memoryResponse) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *memoryResponse) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
