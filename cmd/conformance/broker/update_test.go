package broker

// Registers -update: `go test ./... -update` passes it to every package.
import _ "gatehouse/providers/providertest/golden"
