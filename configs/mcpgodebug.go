package configs

import (
	"slices"

	"gatehouse/providers"
)

// sdkVariable makes the MCP SDK behave like one of its older versions.
const sdkVariable = "MCPGODEBUG"

// rejectMCPGODEBUG reports the variable with any value. Each value that the SDK knows takes back a fix, for
// instance that of 1.8.0 which makes handlers without sessions ignore session ids. None is tested with this
// server, and each release of the SDK has others. A value in .env has no effect: the SDK reads the
// environment of the process.
func rejectMCPGODEBUG(environ []variable) Problems {
	i := slices.IndexFunc(environ, func(v variable) bool { return v.name == sdkVariable && v.value != "" })
	if i < 0 {
		return nil
	}
	return Problems{{Key: sdkVariable, Value: quoteValue(environ[i].value), Origin: environ[i].origin,
		Code: providers.CodeNotAllowed,
		Reason: "it makes the MCP SDK behave like an older version, which takes back fixes and is not tested " +
			"with this server",
		Fix: "unset it for this program"}}
}
