package app

import "time"

// Generation identifies the configuration in force: a number that grows with each change, and the digest of its values.
func (a *App) Generation() (number uint64, digest string) { return 1, a.digest }

// ReloadStatus is how the last reload of the configuration ended.
type ReloadStatus struct {
	// Time is zero before the first reload.
	Time time.Time
	OK   bool
	// Reason is why the reload was refused.
	Reason string
}

// LastReload returns how the last reload ended.
func (a *App) LastReload() ReloadStatus { return ReloadStatus{} }
