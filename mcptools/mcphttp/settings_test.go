package mcphttp

import (
	"testing"

	"gatehouse/providers"
)

func TestSettings_AcceptOnlyTheTwoEras(t *testing.T) {
	for era, good := range map[string]bool{EraDual: true, EraStateless: true, "": false, "Dual": false, "legacy": false} {
		problems := 0
		settings := DefaultSettings()
		settings.Era = era
		settings.Validate(func(providers.Problem) { problems++ })
		if (problems == 0) != good {
			t.Errorf("mcp.era %q: %d problems", era, problems)
		}
	}
}
