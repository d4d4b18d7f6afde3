package authserver

import (
	"slices"

	"gatehouse/providers"
)

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []providers.ReasonDoc {
	return slices.Concat(browserReasons(), grantReasons(), clientReasons(), assertionReasons(), storeReasons())
}
