package app

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"gatehouse/configs"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/server/audit"
)

// ErrAudit is the error of [New] if the audit log cannot be opened.
var ErrAudit = errors.New("the audit log cannot be opened")

// openAudit opens the audit log of cfg, or returns nil if there is none.
func openAudit(cfg *configs.Config, digest string, logger *slog.Logger) (*audit.Log, error) {
	if cfg.Audit.Dir == "" {
		return nil, nil
	}
	log, err := audit.Open(cfg.Audit, Version(), digest, logger)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAudit, err)
	}
	return log, nil
}

// ConfigDigest identifies the effective configuration. Secrets are redacted in it, so that it does not reveal
// them.
func ConfigDigest(cfg *configs.Config) string {
	sum := sha256.New()
	for _, v := range cfg.Effective {
		fmt.Fprintf(sum, "%s=%q\n", v.Key, v.Value)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// recorder and auditor return what the MCP endpoint reports to.
func (a *App) recorder() mcphttp.Recorder {
	if a.Audit == nil {
		return recorder{}
	}
	return recorder{events: &auditEvents{arguments: a.Audit.Arguments()}}
}

func (a *App) auditor() mcphttp.Auditor {
	if a.Audit == nil || !a.Audit.Required() {
		return nil
	}
	return auditor{}
}
