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

// proxy forwards requests to resource with an access token, because the suite cannot send one. Everything
// else is unchanged, also a foreign Host header: the suite sends one to check that it is refused.
func proxy(ctx context.Context, address, resource string, source oauth2.TokenSource) error {
	target, err := url.Parse(resource)
	if err != nil {
		return err
	}
	tokens := oauth2.ReuseTokenSource(nil, source)
	if _, err := tokens.Token(); err != nil {
		return err // fail once, rather than in every scenario
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	forward := &httputil.ReverseProxy{
		FlushInterval: -1, // forward events at once
		Transport:     &oauth2.Transport{Source: tokens},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			if name, p, err := net.SplitHostPort(r.In.Host); err == nil && p == port && isLoopback(name) {
				r.Out.Host = target.Host // the client addresses the proxy
			} else {
				r.Out.Host = r.In.Host
			}
		},
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A response may start before the body was read to its end. The body would then be closed, which closes
		// the connection and ends the event stream of the response. So the body is read first; the suite sends no
		// large one.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "cannot read the body", http.StatusBadRequest)
			return
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		if len(body) == 0 {
			r.Body = http.NoBody
		}
		forward.ServeHTTP(w, r)
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
