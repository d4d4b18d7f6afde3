package configs

import (
	"net"
	"net/url"
	"slices"
	"time"

	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
)

// derive sets the values that follow from others. Explicit values stay.
func (l *loader) derive(kind Kind, variables []variable, memoryLimit int64) {
	l.deriveFromProvider(kind)
	l.deriveListen(kind, variables)
	l.deriveDrainTime()
	l.deriveByteLimits(memoryLimit)
	l.deriveMetrics()
	required, initial := l.merged.Strings("scopes.required"), l.merged.Strings("scopes.initial")
	if len(required) > 0 && len(initial) == 0 {
		l.set("scopes.initial", slices.Clone(required), derivedFrom+"scopes.required")
	}
}

// deriveFromProvider sets what the settings of the kind supply; see [providers.Deriver].
func (l *loader) deriveFromProvider(kind Kind) {
	if kind.Defaults == nil {
		return
	}
	settings := kind.Defaults()
	deriver, ok := settings.(providers.Deriver)
	if !ok {
		return
	}
	l.decodeSection("provider", settings)
	deriver.Derive(func(key, value, from string) {
		if l.isDefault(key) {
			l.set(key, value, derivedFrom+from)
		}
	})
}

// deriveListen takes the address to listen on from a resource on this computer: with only one of the two
// changed, clients would not reach the server. Behind https another process listens at the address of the
// resource, because this server speaks plain http. For a public resource the port is that of the platform.
func (l *loader) deriveListen(kind Kind, variables []variable) {
	const key = "server.listen"
	resource, err := providers.ParseResource(l.merged.String("resource"))
	if err != nil {
		return
	}
	if isLegacyPort(kind, variables, l.origins[key]) && resource.IsLoopback() {
		// A legacy port has no host. It must not open a server on this computer to others.
		l.set(key, "127.0.0.1"+l.merged.String(key), l.origins[key])
	}
	if port, isSet := platformPort(variables); isSet && l.isDefault(key) && !resource.IsLoopback() {
		l.set(key, net.JoinHostPort("", port.value), port.origin)
		return
	}
	u, _ := url.Parse(resource.Origin()) // parsed before
	if u.Scheme != "http" || u.Port() == "" || !l.isDefault(key) {
		return
	}
	host := u.Hostname()
	if net.ParseIP(host) == nil { // localhost
		host = "127.0.0.1"
	}
	if address := net.JoinHostPort(host, u.Port()); address != l.merged.String(key) {
		l.set(key, address, derivedFrom+"resource")
	}
}

// platformPort returns the variable PORT of the process, with which platforms such as Cloud Run and Heroku name
// the port that they send requests to. A PORT in .env is for another program of the same folder.
func platformPort(variables []variable) (port variable, isSet bool) {
	port, isSet = legacyVariable(variables, "PORT")
	return port, isSet && port.origin == environOrigin+port.name
}

// deriveDrainTime turns draining off on loopback: no load balancer on another computer must notice the stop.
func (l *loader) deriveDrainTime() {
	const key = "server.drain_time"
	resource, err := providers.ParseResource(l.merged.String("resource"))
	if err == nil && resource.IsLoopback() && l.isDefault(key) {
		l.set(key, time.Duration(0), derivedFrom+"resource")
	}
}

// deriveByteLimits takes the limits of bytes that are not set from the memory limit, in bytes (0: none), and
// lowers the default of server.max_body_bytes to what one caller may send.
func (l *loader) deriveByteLimits(memoryLimit int64) {
	const all, perUser, body = "mcp.max_bytes", "mcp.max_bytes_per_user", "server.max_body_bytes"
	var set mcphttp.Settings
	l.decodeSection("mcp", &set)
	limits := set.WithByteLimits(memoryLimit)
	if set.MaxBytes == 0 {
		origin := defaultOrigin
		if memoryLimit > 0 {
			origin = derivedFrom + "the memory limit of the process"
		}
		l.set(all, limits.MaxBytes, origin)
	}
	if set.MaxBytesPerUser == 0 {
		l.set(perUser, limits.MaxBytesPerUser, derivedFrom+all)
	}
	if most := limits.MaxBytesPerUser; most > 0 && l.merged.Int(body) > most && l.isDefault(body) {
		l.set(body, most, derivedFrom+perUser)
	}
}
