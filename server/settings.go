package server

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/providers"
)

// Settings are the section "server" of the configuration.
type Settings struct {
	Listen         string   `koanf:"listen" reload:"restart" help:"host:port to listen on"`
	AllowedOrigins []string `koanf:"allowed_origins" reload:"live" loosens:"added" help:"web origins that may call MCP: exact, or http://localhost:*"`
	TrustedProxies []string `koanf:"trusted_proxies" reload:"live" loosens:"added" help:"CIDR ranges whose X-Forwarded-For is trusted: proxies only"`

	MaxBodyBytes   int `koanf:"max_body_bytes" reload:"live" loosens:"raised" help:"largest request body, in bytes"`
	MaxHeaderBytes int `koanf:"max_header_bytes" reload:"restart" help:"largest request header, in bytes; it must have room for a token"`

	ReadHeaderTimeout time.Duration `koanf:"read_header_timeout" reload:"restart" help:"time limit for reading a request header"`
	ReadBodyTimeout   time.Duration `koanf:"read_body_timeout" reload:"live" loosens:"raised" help:"time limit for reading a request body"`
	IdleTimeout       time.Duration `koanf:"idle_timeout" reload:"restart" help:"time limit between two requests on a connection"`
	DrainTime         time.Duration `koanf:"drain_time" reload:"live" help:"how long to keep serving after /readyz reports 503; 0s on loopback unless set"`
	ShutdownTimeout   time.Duration `koanf:"shutdown_timeout" reload:"live" help:"time limit for calls in flight at shutdown"`

	FailedAuthPerMinute int `koanf:"failed_auth_per_minute" reload:"live" loosens:"raised" help:"bad tokens per minute and address before a 429"`

	MaxConnections int `koanf:"max_connections" reload:"new" loosens:"raised" help:"connections in total; at the limit the longest idle is closed"`

	MaxConnectionsPerAddress int `koanf:"max_connections_per_address" reload:"new" loosens:"raised" help:"connections per IPv4 address or IPv6 /64"`
}

// DefaultSettings returns the default values of the section.
func DefaultSettings() Settings {
	return Settings{
		Listen: "127.0.0.1:3002", AllowedOrigins: []string{}, TrustedProxies: []string{},
		MaxBodyBytes: 1 << 20, MaxHeaderBytes: 48 << 10,
		ReadHeaderTimeout: 10 * time.Second, ReadBodyTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		DrainTime: 5 * time.Second, ShutdownTimeout: 20 * time.Second,
		FailedAuthPerMinute: 300,
		MaxConnections:      2000, MaxConnectionsPerAddress: 500,
	}
}

// Validate reports every invalid setting, all at once. The key is relative to the section.
func (s Settings) Validate(report func(providers.Problem)) {
	if reason := CheckListen(s.Listen); reason != "" {
		report(providers.Problem{Key: "listen", Code: providers.CodeInvalidValue,
			Reason: reason,
			Fix:    "use 127.0.0.1:3002, or :3002 for every address of this computer"})
	}
	for _, origin := range s.AllowedOrigins {
		if reason := checkOrigin(origin); reason != "" {
			report(providers.Problem{Key: "allowed_origins", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(origin) + " " + reason,
				Fix:    "use scheme://host[:port] as browsers send it, for example https://inspector.example.com"})
		}
	}
	for _, proxy := range s.TrustedProxies {
		if _, err := netip.ParsePrefix(proxy); err != nil {
			report(providers.Problem{Key: "trusted_proxies", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(proxy) + " is not a range of addresses",
				Fix:    "use CIDR, such as 192.0.2.7/32, that covers the proxies alone"})
		}
	}
	for _, n := range []struct {
		key          string
		value, least int
		most         int
	}{
		{"max_body_bytes", s.MaxBodyBytes, 1 << 10, 1 << 30},
		{"max_header_bytes", s.MaxHeaderBytes, 4 << 10, 1 << 20},
		{"max_connections", s.MaxConnections, 1, 1_000_000},
		{"max_connections_per_address", s.MaxConnectionsPerAddress, 1, 1_000_000},
		{"failed_auth_per_minute", s.FailedAuthPerMinute, 1, 1_000_000},
	} {
		if n.value < n.least || n.value > n.most {
			report(providers.Problem{Key: n.key, Code: providers.CodeOutOfRange,
				Reason: fmt.Sprintf("it is not between %d and %d", n.least, n.most),
				Fix:    "leave it out for the default"})
		}
	}
	for _, d := range []struct {
		key   string
		value time.Duration
		least time.Duration
	}{
		{"read_header_timeout", s.ReadHeaderTimeout, 100 * time.Millisecond},
		{"read_body_timeout", s.ReadBodyTimeout, 100 * time.Millisecond},
		{"idle_timeout", s.IdleTimeout, 100 * time.Millisecond},
		{"shutdown_timeout", s.ShutdownTimeout, 100 * time.Millisecond},
		{"drain_time", s.DrainTime, 0},
	} {
		if d.value < d.least || d.value > time.Hour {
			report(providers.Problem{Key: d.key, Code: providers.CodeOutOfRange,
				Reason: fmt.Sprintf("it is not between %s and 1h", d.least),
				Fix:    "use a duration such as 10s"})
		}
	}
}

// CheckListen returns why address is not one to listen on; "" if it is one.
func CheckListen(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "it is not host:port"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "its port is not a number from 0 to 65535"
	}
	if strings.Contains(host, "/") {
		return "its host is not a name or an address"
	}
	return ""
}

func checkOrigin(origin string) string {
	if slices.Contains(anyPortOrigins(), origin) {
		return ""
	}
	u, err := url.Parse(origin)
	switch {
	case strings.Contains(origin, "*"):
		return "is a pattern; only " + strings.Join(anyPortOrigins(), ", ") +
			" are allowed, because other patterns match more than they seem to"
	case origin == "null":
		return "is the origin of every sandboxed page"
	case err != nil || u.Scheme == "" || u.Hostname() == "" || strings.HasSuffix(u.Host, ":"):
		return "is not an origin"
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "has more than scheme, host and port"
	case origin != strings.ToLower(origin):
		return "has capital letters, which browsers never send"
	}
	return ""
}
