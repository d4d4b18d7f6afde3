package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"golang.org/x/oauth2"
)

// proxy passes requests on to resource with a bearer token that it signs in for: the suite has no way to send one. All
// else stays as it is, a foreign Host header too, because the suite sends one to see whether it is refused.
func proxy(ctx context.Context, address, resource string) error {
	target, err := url.Parse(resource)
	if err != nil {
		return err
	}
	tokens := oauth2.ReuseTokenSource(nil, &signIn{ctx: ctx, resource: resource})
	if _, err := tokens.Token(); err != nil {
		return err // better now than in every scenario
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	pass := &httputil.ReverseProxy{
		FlushInterval: -1, // events, as they come
		Transport:     &oauth2.Transport{Source: tokens},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			if name, p, err := net.SplitHostPort(r.In.Host); err == nil && p == port && isLoopback(name) {
				r.Out.Host = target.Host // it means us
			} else {
				r.Out.Host = r.In.Host
			}
		},
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// An answer may begin before the end of the body was seen. The body would be closed then, its sender fail, and
		// the stream of the answer end with the connection. So it is read first; the suite sends nothing large.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "the body could not be read", http.StatusBadRequest)
			return
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		if len(body) == 0 {
			r.Body = http.NoBody
		}
		pass.ServeHTTP(w, r)
	})}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func isLoopback(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}
