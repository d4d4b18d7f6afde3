package configs

import (
	"slices"

	"gatehouse/mcptools/mcphttp"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/broker"
	"gatehouse/providers/token"
	"gatehouse/server"
	"gatehouse/server/audit"
	"gatehouse/server/denials"
)

// Reasons returns the reasons of all packages, for the documentation and for doctor.
func Reasons() []providers.ReasonDoc {
	return slices.Concat(providers.Reasons(), server.Reasons(), token.Reasons(), mcphttp.Reasons(), upstream.Reasons(),
		audit.Reasons(), denials.Reasons(), authserver.Reasons(), broker.Reasons())
}
