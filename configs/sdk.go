package configs

import "slices"

// sdkVariable is how the MCP SDK is told to behave as one of its older versions did.
const sdkVariable = "MCPGODEBUG"

// oldSDK refuses every such setting, known or not. Each known one takes back a fix, of 1.8.0 for instance that a handler
// without sessions takes no notice of session ids; none is tested here, and every release of the SDK has others. .env is not
// looked at: the SDK reads the environment of the process only.
func oldSDK(environ []variable) Problems {
	i := slices.IndexFunc(environ, func(v variable) bool { return v.name == sdkVariable && v.value != "" })
	if i < 0 {
		return nil
	}
	return Problems{{Key: sdkVariable, Value: quoteValue(environ[i].value), Origin: environ[i].origin,
		Reason: "it makes the MCP SDK behave as its older versions did, which takes back what was mended since and was never tested with this server",
		Fix:    "unset it for this program"}}
}
