package authserver

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Transport looks like a server to the handler, and like a network to the client.
func TestTransport(t *testing.T) {
	const address = "http://localhost:3002/keys?x=1"
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		status  int
		body    string
	}{
		"only writes":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") }, 200, "x"},
		"does nothing": {func(http.ResponseWriter, *http.Request) {}, 200, ""},
		"sets a status": {func(w http.ResponseWriter,
			_ *http.Request) {
			w.WriteHeader(503)
			fmt.Fprint(w, "x")
		}, 503, "x"},
		"sets it twice": {func(w http.ResponseWriter,
			_ *http.Request) {
			w.WriteHeader(404)
			w.WriteHeader(200)
		}, 404, ""},
		"sets it after writing": {func(w http.ResponseWriter,
			_ *http.Request) {
			fmt.Fprint(w, "x")
			w.WriteHeader(500)
		}, 200, "x"},
		"reads the request": {func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			fmt.Fprint(w, r.Method, " ", r.Host, " ", r.RequestURI, " ", len(body), " ", err)
		}, 200, "GET localhost:3002 /keys?x=1 0 <nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := (&http.Client{Transport: Transport(c.handler)}).Get(address)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close() // which also stops the client's timer
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || string(body) != c.body ||
				!strings.HasPrefix(resp.Status, fmt.Sprint(c.status, " ")) {
				t.Errorf("%s, %q, %v", resp.Status, body, err)
			}
		})
	}
	t.Run("panics", func(t *testing.T) {
		client := http.Client{Transport: Transport(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("x") }))}
		if _, err := client.Get(address); err == nil {
			t.Error("there is no error")
		}
	})
}
