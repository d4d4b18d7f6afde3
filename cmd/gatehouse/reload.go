package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/providers"
)

// A reload by SIGHUP takes place when two reads in this interval are equal: an editor may still be writing a file.
// When that does not happen, the reload is refused.
const (
	rereadInterval = 100 * time.Millisecond
	maxReads       = 20
	// readTimeout is how long reading the files may take before it is reported: a network file system can block it without
	// end, and no reload takes place then.
	readTimeout = 10 * time.Second
)

// reloader puts another configuration in force when files have changed.
type reloader struct {
	app     *app.App
	sources configs.Sources
	// judged is what the files contained when a configuration was last put in force or refused. A refused one is
	// not tried again before a file changes.
	judged *configs.Snapshot
	// prepare is that of [serving]; may be nil.
	prepare func(*configs.Config) error
	// applied is called after another configuration is in force.
	applied func(before, now *configs.Config)
	// stuckAfter is [readTimeout].
	stuckAfter time.Duration
}

// reading is one attempt to load the configuration.
type reading struct {
	files  *configs.Snapshot
	config *configs.Config
	err    error
}

func (r *reloader) read() reading {
	defer r.beginRead()()
	now := reading{files: configs.NewSnapshot()}
	sources := r.sources
	sources.ReadFile = now.files.ReadFile
	now.config, now.err = configs.Load(sources)
	if now.err == nil && r.prepare != nil {
		now.err = r.prepare(now.config)
	}
	return now
}

// isCurrent reports whether the files are as files has them.
func (r *reloader) isCurrent(files *configs.Snapshot) bool {
	defer r.beginRead()()
	return files.IsCurrent()
}

// beginRead reports a read that does not end, until end is called.
func (r *reloader) beginRead() (end func()) {
	report := time.AfterFunc(r.stuckAfter, func() {
		r.app.RefuseReload(unusableFiles(fmt.Sprintf("reading them takes more than %s", r.stuckAfter),
			"make their file system answer"))
	})
	return func() { report.Stop() }
}

func unusableFiles(reason, fix string) error {
	return configs.Problems{{Key: "config", Origin: "files", Code: providers.CodeUnusable, Reason: reason, Fix: fix}}
}

// run reloads on each value of hangups and, in the interval reload.poll, if files have changed, until ctx is done.
func (r *reloader) run(ctx context.Context, hangups <-chan struct{}) {
	var changed *reading // a change that was seen once
	for {
		var poll <-chan time.Time
		if interval := r.app.Config().Reload.Poll; interval > 0 {
			poll = time.After(interval)
		}
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			r.reloadNow(ctx)
			changed = nil
		case <-poll:
			changed = r.poll(ctx, changed)
		}
	}
}

// poll reloads if the files have changed and are as they were at the poll before, which is changed. It returns what
// it has read if they must be read once more.
func (r *reloader) poll(ctx context.Context, changed *reading) *reading {
	if r.isCurrent(r.judged) {
		return nil
	}
	now := r.read()
	if changed == nil || !changed.files.Equal(now.files) {
		return &now
	}
	r.judge(ctx, now)
	return nil
}

// reloadNow reloads as soon as two reads are equal. The list of denied callers comes first: it is the urgent one.
func (r *reloader) reloadNow(ctx context.Context) {
	if list := r.app.Denials; list != nil {
		_ = list.Reload(ctx) // the list logs why it is bad, and is polled, too
	}
	for range maxReads {
		now := r.read()
		select {
		case <-ctx.Done():
			return
		case <-time.After(rereadInterval):
		}
		if r.isCurrent(now.files) {
			r.judge(ctx, now)
			return
		}
	}
	r.app.RefuseReload(unusableFiles("the files keep changing", "send SIGHUP when they are complete"))
}

// judge puts a configuration in force, or refuses it.
func (r *reloader) judge(ctx context.Context, now reading) {
	r.judged = now.files
	if now.err != nil {
		r.app.RefuseReload(now.err)
		return
	}
	before := r.app.Config()
	if changes, err := r.app.Reload(ctx, now.config); err == nil && len(changes) > 0 {
		r.applied(before, now.config)
	}
}

// reloadsOnHangup reports whether SIGHUP is a reload. The local issuer keeps its keys and clients in memory only, and
// is what starts without any configuration: there, and on a terminal, SIGHUP is the end.
func (c console) reloadsOnHangup(cfg *configs.Config) bool {
	_, embedded := cfg.Provider.(providers.Embedded)
	return (!embedded || app.KeepsSignIns(cfg)) && !c.interactive
}

// follow makes what the process itself keeps of a configuration that of now: the level of the log, and how long a stop
// may take.
func (c console) follow(now *configs.Config, level *slog.LevelVar, logger *slog.Logger) {
	level.Set(now.Log.SlogLevel())
	c.stop.configure(now.Server, logger)
}

// warnOfNotes logs the notes on the configuration that did not apply before.
func warnOfNotes(a *app.App, before, now *configs.Config, logger *slog.Logger) {
	known := slices.Concat(before.Notes, app.Notes(before, a.Catalog))
	for _, note := range slices.Concat(now.Notes, app.Notes(now, a.Catalog)) {
		if !slices.Contains(known, note) {
			logger.Warn(note)
		}
	}
}
