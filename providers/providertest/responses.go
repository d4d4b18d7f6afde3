package providertest

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"io"
	"net/http"
	"slices"
	"strings"
)

func newKid() string { return rand.Text() }

// text responds with status 200 and a body.
func text(body string) http.HandlerFunc { return respond(http.StatusOK, body) }

// respond responds with a status and a body; header is a list of names and values.
func respond(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for pair := range slices.Chunk(header, 2) {
			w.Header().Set(pair[0], pair[1])
		}
		w.Header().Set("X-Canary", canary)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// closeConnection closes the connection without a response.
func closeConnection(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// badResponses are not valid responses with a key set, although many of them contain a usable one.
func badResponses(o *openAdapter) map[string]http.HandlerFunc {
	attackerKeySet := o.attackerKeySet()
	return map[string]http.HandlerFunc{
		"an empty body":     text(``),
		"HTML":              text(`<!doctype html><title>` + canary + `</title>`),
		"truncated JSON":    text(`{"keys":[{"kty":"` + canary),
		"2 MiB":             text(attackerKeySet + strings.Repeat(" ", 2<<20)),
		"a gzip bomb":       gzipBomb(attackerKeySet),
		"not found":         respond(http.StatusNotFound, attackerKeySet),
		"an error":          respond(http.StatusInternalServerError, attackerKeySet),
		"no content":        respond(http.StatusNoContent, ""),
		"too many requests": respond(http.StatusTooManyRequests, attackerKeySet),
		"an outage with a date": respond(http.StatusServiceUnavailable, attackerKeySet, "Retry-After",
			"Fri, 31 Dec 1999 23:59:59 GMT"),
		"a closed connection":                closeConnection,
		"a body shorter than Content-Length": respond(http.StatusOK, attackerKeySet, "Content-Length", "10000"),
		"not HTTP":                           notHTTP,
	}
}

// badKeySets are JSON without a usable key.
func badKeySets(*openAdapter) map[string]http.HandlerFunc {
	var jwks []string
	for _, jwk := range unusableKeys() {
		jwks = append(jwks, jwk)
	}
	const usable = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	return map[string]http.HandlerFunc{
		"null":                     text(`null`),
		"an empty set":             text(`{"keys":[]}`),
		"a set that is null":       text(`{"keys":null,"` + canary + `":1}`),
		"not a key set":            text(`{"error":"` + canary + `"}`),
		"keys that are not a list": text(`{"keys":{"` + canary + `":1}}`),
		"an unknown key type":      text(`{"keys":[{"kty":"` + canary + `","kid":"` + canary + `"}]}`),
		"only unusable keys":       text(`{"keys":[` + strings.Join(jwks, ",") + `]}`),
		"more than 1,000 keys":     text(`{"keys":[` + strings.Repeat(usable+",", 1000) + usable + `]}`),
	}
}

// gzipBomb responds with a small body that decompresses to several megabytes.
func gzipBomb(text string) http.HandlerFunc {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, text)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 4<<20))
	_ = z.Close()
	return respond(http.StatusOK, packed.String(), "Content-Encoding", "gzip")
}

func notHTTP(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, canary+"\r\n\r\n")
		_ = conn.Close()
	}
}
