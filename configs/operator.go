package configs

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"gatehouse/providers"
	"gatehouse/server"
)

// Operator is the section "operator".
type Operator struct {
	Listen string `koanf:"listen" reload:"restart" help:"host:port of the status page, /status.json and /metrics, which need no token; empty: off"`

	Hosts []string `koanf:"hosts" reload:"restart" help:"names under which it is reached, in addition to localhost and IP addresses"`
}

// IsOn reports whether there is a listener for operators.
func (o Operator) IsOn() bool { return o.Listen != "" }

// IsLoopback reports whether only this computer reaches the listener.
func (o Operator) IsLoopback() bool {
	host, _, err := net.SplitHostPort(o.Listen)
	return err == nil && providers.IsLoopback(host)
}

// Validate reports every invalid setting. The key is relative to the section.
func (o Operator) Validate(report func(providers.Problem)) {
	if o.IsOn() {
		if reason := server.CheckListen(o.Listen); reason != "" {
			report(providers.Problem{Key: "listen", Code: providers.CodeInvalidValue,
				Reason: reason,
				Fix:    "use 127.0.0.1:9464, or :9464 for every address of this computer"})
		}
	}
	if !o.IsOn() && len(o.Hosts) > 0 {
		report(providers.Problem{Key: "hosts", Code: providers.CodeNoEffect,
			Reason: "operator.listen is not set: there is no listener for operators",
			Fix:    "set operator.listen, such as 127.0.0.1:9464, or remove it"})
		return
	}
	for _, host := range o.Hosts {
		if reason := checkHostName(host); reason != "" {
			report(providers.Problem{Key: "hosts", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(host) + " " + reason,
				Fix:    "write the name alone, as in http://NAME:9464/, for example status.example.com"})
		}
	}
}

// checkHostName returns why host is not a name that a Host header can have, without a port; "" if it is one.
func checkHostName(host string) string {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return "is an IP address, which is always allowed"
	}
	for _, label := range strings.Split(host, ".") {
		isOther := func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}
		if label == "" || strings.ContainsFunc(label, isOther) {
			return "is not the name of a host"
		}
	}
	return ""
}

// validateOperator reports a port that two listeners would use. Even on different addresses of the computer
// one of the two is easily taken for the other, and what a proxy publishes must never be the operator's.
func (l *loader) validateOperator(config *Config) {
	report := l.report("operator")
	config.Operator.Validate(report)
	_, port, err := net.SplitHostPort(config.Operator.Listen)
	_, taken, otherErr := net.SplitHostPort(config.Server.Listen)
	if err != nil || otherErr != nil || !isSamePort(port, taken) {
		return
	}
	report(providers.Problem{Key: "listen", Code: providers.CodeConflict,
		Reason: "server.listen has port " + taken + ", too: the status page must not be where the MCP endpoint is",
		Fix:    "use another port, such as 9464"})
}

// isSamePort compares ports by number. Port 0 is a free one each time.
func isSamePort(a, b string) bool {
	first, err := strconv.ParseUint(a, 10, 16)
	second, otherErr := strconv.ParseUint(b, 10, 16)
	return err == nil && otherErr == nil && first == second && first != 0
}
