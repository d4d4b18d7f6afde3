package telemetry

import (
	"time"

	"gatehouse/providers"
)

// row is a named value of the status page.
type row struct{ Name, Value, Note, Level string }

// issuerRow is the state of the keys of an issuer.
type issuerRow struct {
	Issuer, State, Age, Level string
	Problem                   providers.Reason
}

// IssuerRows returns a row for each issuer.
func (v *statusView) IssuerRows() (rows []issuerRow) {
	for _, issuer := range v.Issuers {
		r := issuerRow{Issuer: issuer.Issuer, State: "usable", Level: levelGood, Problem: issuer.Problem,
			Age: "never fetched"}
		if age := issuer.KeysAgeSeconds; age != nil {
			r.Age = "fetched " + ago(time.Duration(*age*float64(time.Second)))
		}
		switch {
		case !issuer.Usable:
			r.State, r.Level = "not usable", levelBad
		case issuer.Problem != "":
			r.State, r.Level = "usable, not renewed", levelWarn
		}
		rows = append(rows, r)
	}
	return rows
}

// ConfigRows returns the configuration in force, and the denials, which have a file of their own.
func (v *statusView) ConfigRows() []row {
	rows := []row{
		{Name: "provider", Value: v.ProviderKind},
		{Name: "digest", Value: v.Config.Digest, Note: "equal on all replicas"},
	}
	generation := row{Name: "generation", Value: number(v.Config.Generation), Note: "not reloaded since the start"}
	if r := v.Config.Reload; r != nil {
		generation.Note = "reloaded " + v.since(r.Time)
		if !r.OK {
			generation.Note, generation.Level = "a reload was refused "+v.since(r.Time), levelWarn
		}
	}
	rows = append(rows, generation)
	denials := row{Name: "denials", Value: "off", Note: "denials.file is not set"}
	if d := v.Denials; d != nil {
		denials.Value, denials.Note = count(int64(d.Entries), "entry"), count(d.Hits, "request")+" refused"
		if !d.OK {
			denials.Note, denials.Level = "the file cannot be used, the last good list is in force", levelWarn
		}
	}
	return append(rows, denials)
}

// AuditRows returns the state of the audit log; nil if there is none.
func (v *statusView) AuditRows() []row {
	a := v.Audit
	if a == nil {
		return nil
	}
	state := row{Name: "state", Value: "in order", Level: levelGood}
	if !a.OK {
		state.Value, state.Level = "cannot be written", levelBad
	}
	if a.Required {
		state.Note = "required: without it, no call runs"
	}
	records := row{Name: "records", Value: number(a.Sequence), Note: "all on disk"}
	if a.Unsynced > 0 {
		records.Note = number(a.Unsynced) + " not on disk yet"
	}
	checkpoint := row{Name: "checkpoint", Value: "none", Note: "since the start"}
	if a.CheckpointTime != nil {
		checkpoint.Value = "record " + number(a.Checkpoint)
		checkpoint.Note = v.since(*a.CheckpointTime)
	}
	lost := row{Name: "lost", Value: number(a.Lost)}
	if a.Lost > 0 {
		lost.Level = levelBad
	}
	return []row{state, records, checkpoint, lost}
}

// since returns how long before the time of the page t was.
func (v *statusView) since(t time.Time) string { return ago(v.Time.Sub(t)) }

func ago(d time.Duration) string { return span(max(d, 0)) + " ago" }

// Up, Memory and At are for the foot of the page.
func (v *statusView) Up() string     { return span(time.Duration(v.UptimeSeconds) * time.Second) }
func (v *statusView) Memory() string { return megabytes(v.Process.MemoryBytes) }
func (v *statusView) At() string     { return v.Time.Format("15:04:05 MST") }
