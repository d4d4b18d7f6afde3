package app

import (
	"log/slog"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
)

// AloneInfo is [ServerInfo] for an authorization server alone (see [AuthorizationServerAlone]). It has no tools: its
// scopes are those that settings name.
func AloneInfo(cfg *configs.Config, logger *slog.Logger) providers.ServerInfo {
	info := ServerInfo(cfg, mcptools.Catalog{}, logger)
	if named, ok := cfg.Provider.(interface{ NamedScopes() []string }); ok {
		info.KnownScopes = providers.MergeScopes(info.KnownScopes, named.NamedScopes())
	}
	return info
}
