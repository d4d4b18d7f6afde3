package mcptools

// Settings are the section "mcp" of the configuration.
type Settings struct {
	Era string `koanf:"era" help:"dual: clients of every protocol version, with sessions for the older ones; stateless: no sessions, any number of replicas"`
}

// The values of mcp.era.
const (
	// EraDual serves MCP 2026-07-28 without sessions, and older versions with them.
	EraDual = "dual"
	// EraStateless serves every version without sessions. Clients of older versions lose what needs one: questions to the
	// person, and notifications outside a call.
	EraStateless = "stateless"
)

// DefaultSettings returns the section before anything was configured.
func DefaultSettings() Settings { return Settings{Era: EraDual} }

// Check reports every setting that cannot be right. The key is relative to the section.
func (s Settings) Check(report func(key, reason, wayOut string)) {
	if s.Era != EraDual && s.Era != EraStateless {
		report("era", "it is neither dual nor stateless", "use dual, or stateless when there are several replicas")
	}
}
