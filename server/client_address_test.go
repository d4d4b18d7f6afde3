package server

import (
	"net/http"
	"strings"
	"testing"
)

// The log and the limits use this address, so every common format of a proxy must be understood, and no other
// sender trusted.
func TestClientAddressIsTheLastUntrustedHop(t *testing.T) {
	const proxy = "127.0.0.1:40000"
	for name, c := range map[string]struct {
		peer    string
		header  []string
		trusted []string // 127.0.0.0/8 and 10.0.0.0/24 if nil
		want    string
	}{
		"IPv4":                     {proxy, []string{"203.0.113.7"}, nil, "203.0.113.7"},
		"IPv4 with a port":         {proxy, []string{"203.0.113.7:51234"}, nil, "203.0.113.7"},
		"IPv6":                     {proxy, []string{"2001:db8::1"}, nil, "2001:db8::1"},
		"IPv6 in another spelling": {proxy, []string{"2001:DB8:0:0::0001"}, nil, "2001:db8::1"},
		"IPv6 in brackets":         {proxy, []string{"[2001:db8::1]"}, nil, "2001:db8::1"},
		"IPv6 with a port":         {proxy, []string{"[2001:db8::1]:443"}, nil, "2001:db8::1"},
		"IPv4 written as IPv6":     {proxy, []string{"::ffff:203.0.113.7"}, nil, "203.0.113.7"},
		"IPv4 as IPv6 with a port": {proxy, []string{"[::ffff:203.0.113.7]:443"}, nil,
			"203.0.113.7"},
		"the last counts": {proxy, []string{"198.51.100.9, 203.0.113.7:51234"}, nil,
			"203.0.113.7"},
		"the last of several fields": {proxy, []string{"198.51.100.9", "203.0.113.7"}, nil,
			"203.0.113.7"},
		"behind two proxies": {proxy,
			[]string{"198.51.100.9, 203.0.113.7:1, 10.0.0.7:9, 10.0.0.8"}, nil, "203.0.113.7"},
		"behind two, in several fields": {proxy, []string{"198.51.100.9, 203.0.113.7", "10.0.0.7"},
			nil, "203.0.113.7"},
		"all are proxies":                {proxy, []string{"10.0.0.7, 10.0.0.8"}, nil, "10.0.0.7"},
		"what cannot be read comes last": {proxy, []string{"203.0.113.7, unknown"}, nil, "127.0.0.1"},
		"what cannot be read is in between": {proxy, []string{"203.0.113.7, unknown, 10.0.0.7"}, nil,
			"127.0.0.1"},
		"what cannot be read, before what counts": {proxy, []string{"not an address, 203.0.113.7"}, nil,
			"203.0.113.7"},
		"an empty entry":           {proxy, []string{"203.0.113.7,"}, nil, "127.0.0.1"},
		"an empty header":          {proxy, []string{""}, nil, "127.0.0.1"},
		"no header":                {proxy, nil, nil, "127.0.0.1"},
		"a port that is none":      {proxy, []string{"203.0.113.7:http"}, nil, "127.0.0.1"},
		"a port that is too large": {proxy, []string{"203.0.113.7:65536"}, nil, "127.0.0.1"},
		"a name":                   {proxy, []string{"client.example:80"}, nil, "127.0.0.1"},
		"a zone":                   {proxy, []string{"fe80::1%status=200"}, nil, "127.0.0.1"},
		"a zone and a port":        {proxy, []string{"[fe80::1%eth0]:443"}, nil, "127.0.0.1"},
		"a peer that is no proxy":  {"192.0.2.1:40000", []string{"203.0.113.7"}, nil, "192.0.2.1"},
		"a peer that is no proxy says it is one": {"192.0.2.1:40000", []string{"203.0.113.7, 10.0.0.7"},
			nil, "192.0.2.1"},
		"a proxy over IPv6": {"[2001:db8:1::1]:40000", []string{"203.0.113.7:1"},
			[]string{"2001:db8:1::/64"}, "203.0.113.7"},
		"a proxy over IPv4 on a socket for both": {"[::ffff:10.0.0.7]:40000", []string{"203.0.113.7"}, nil,
			"203.0.113.7"},
		"a range of IPv4 written as IPv6": {proxy, []string{"203.0.113.7"},
			[]string{"::ffff:127.0.0.0/104"}, "203.0.113.7"},
		"a proxy on the same link": {"[fe80::1%eth0]:40000", []string{"203.0.113.7"},
			[]string{"fe80::/10"}, "203.0.113.7"},
		"no proxy is trusted": {proxy, []string{"203.0.113.7"}, []string{}, "127.0.0.1"},
		"a header as long as the server lets pass": {proxy,
			[]string{strings.Repeat("10.0.0.7,", 5000) + "10.0.0.7"}, nil, "10.0.0.7"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := DefaultSettings()
			if settings.TrustedProxies = c.trusted; c.trusted == nil {
				settings.TrustedProxies = []string{"127.0.0.0/8", "10.0.0.0/24"}
			}
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
			for _, field := range c.header {
				r.Header.Add("X-Forwarded-For", field)
			}
			if got := clientAddress(Config{Settings: settings})(r); got != c.want {
				t.Errorf("the request comes from %q, want %q", got, c.want)
			}
		})
	}
}
