package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/authserver/seal"
	records "gatehouse/providers/authserver/store"
)

const (
	keysID = "keys"

	// pollInterval is how often each replica reads the signing keys: all replicas publish a change within it.
	pollInterval = 10 * time.Second
	// retryInterval is how soon a read that failed is repeated if no key is known.
	retryInterval = time.Second
	// maxViewAge is the age from which keys are read again before they sign, or are published.
	maxViewAge = 30 * time.Second
	// keysTimeout bounds one read of the signing keys, with the changes that it causes.
	keysTimeout = 3 * time.Second
	// resealAfter is how long a process runs before it seals again what an older secret has sealed. Replicas
	// that do not have the new secret yet can read the records until then.
	resealAfter = time.Hour
)

// storedConfig is what stored signing keys depend on.
type storedConfig struct {
	algorithm     jose.SignatureAlgorithm
	issuer        string
	tokenLifetime time.Duration
	store         records.Store
	seals         *seal.Keys
	now           func() time.Time
	logger        *slog.Logger
}

// storedKeys are signing keys in a record that all replicas share. The first replica creates it. Each replica
// reads it from time to time; one of them rotates the keys when it is time. A key is published by all
// replicas before one signs with it.
//
// While the store cannot be reached, the known keys stay in use. If the record does not open, or the store
// belongs to another authorization server, nothing is signed and nothing is written. If the store has lost
// the record, or has an earlier version of it, the known keys are stored again.
type storedKeys struct {
	storedConfig
	started time.Time

	view atomic.Pointer[keyView]

	// mu allows one read at a time. It protects what follows.
	mu       sync.Mutex
	isMarked bool // the store has the marker of this issuer
	resealed bool
	lastErr  error
}

// keyView is what a replica knows of the signing keys. It is not changed.
type keyView struct {
	document *keyDocument         // nil if no keys are known
	seen     map[string]time.Time // when each private key was read first
	first    time.Time            // when keys were read first
	read     time.Time            // when the document was read
	tried    time.Time            // when a read ended last
	problem  error                // why nothing may be signed, or nil
}

func (v *keyView) isSettled(k storedKey, now time.Time) bool {
	seen := v.seen[k.Key.KeyID]
	return k.isSettled(seen, seen.Equal(v.first), now)
}

func newStoredKeys(c storedConfig) *storedKeys {
	s := &storedKeys{storedConfig: c, started: c.now()}
	s.view.Store(&keyView{problem: storeUnreachable(errors.New("the signing keys have not been read yet"))})
	return s
}

func (s *storedKeys) since() time.Time {
	if document := s.view.Load().document; document != nil {
		return document.Current.Since
	}
	return time.Time{}
}

func (s *storedKeys) ready() error { return s.view.Load().problem }

func (s *storedKeys) signing() (jose.JSONWebKey, error) {
	view := s.view.Load()
	if s.now().Sub(view.read) >= maxViewAge {
		view = s.readNow()
	}
	if view.problem != nil {
		return jose.JSONWebKey{}, fmt.Errorf("%w: %w", errNoSigningKey, view.problem)
	}
	current := view.document.Current
	if !view.isSettled(current, s.now()) {
		return jose.JSONWebKey{}, fmt.Errorf("%w: the keys were replaced, and the new one is used after %s",
			errNoSigningKey, keySettling)
	}
	return current.Key, nil
}

func (s *storedKeys) published() ([]jose.JSONWebKey, error) {
	view := s.view.Load()
	if s.now().Sub(view.tried) >= maxViewAge { // run would have tried
		view = s.readNow()
	}
	if view.document == nil {
		return nil, fmt.Errorf("%w: %w", errNoSigningKey, view.problem)
	}
	return view.document.published(s.now()), nil
}

// readNow reads the record for a request, unless that was tried just before.
func (s *storedKeys) readNow() *keyView {
	s.mu.Lock()
	defer s.mu.Unlock()
	if view := s.view.Load(); s.now().Sub(view.tried) < retryInterval {
		return view
	}
	_ = s.read(context.Background()) // the view has the problem
	return s.view.Load()
}

func (s *storedKeys) run(ctx context.Context) {
	for {
		_ = s.load(ctx) // ready and the log have the error
		wait := pollInterval
		if s.view.Load().document == nil {
			wait = retryInterval
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (s *storedKeys) load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(ctx)
}

func (s *storedKeys) rotate(ctx context.Context, keepOld bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change := func(d *keyDocument) (*keyDocument, error) {
		if !s.view.Load().isSettled(d.Next, s.now()) {
			return nil, fmt.Errorf("the next key was published a moment ago; wait %s", keySettling+replicaSkew)
		}
		return d.rotated(s.now(), s.tokenLifetime)
	}
	if !keepOld {
		change = func(d *keyDocument) (*keyDocument, error) { return d.replaced(s.now()) }
	}
	if err := s.read(ctx); err != nil { // nothing is changed in a foreign store
		return err
	}
	err := s.change(ctx, change)
	if err != nil {
		return err
	}
	return s.read(ctx)
}

// RotateStoredKeys is [Issuer.RotateKeys] for a store that no issuer of this process uses. Of c, it needs Issuer,
// SigningAlgorithm, AccessTokenLifetime, Store and Keys.
func RotateStoredKeys(ctx context.Context, c Config, keepOld bool) error {
	return newStoredKeys(storedConfig{
		algorithm: jose.SignatureAlgorithm(c.SigningAlgorithm), issuer: c.Issuer, tokenLifetime: c.AccessTokenLifetime,
		store: c.Store, seals: c.Keys, now: time.Now, logger: slog.New(slog.DiscardHandler),
	}).rotate(ctx, keepOld)
}

// change replaces the document, whatever other replicas do at the same time.
func (s *storedKeys) change(ctx context.Context, change func(*keyDocument) (*keyDocument, error)) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	return retryChanged(func() error {
		r, err := s.store.Get(ctx, keysID)
		if err != nil {
			return err
		}
		document, err := s.open(r)
		if err != nil {
			return err
		}
		if document, err = change(document); err != nil {
			return err
		}
		return s.write(ctx, r, document)
	})
}

// retryChanged repeats f while other replicas change the record at the same time.
func retryChanged(f func() error) error {
	var err error
	for range 10 {
		err = f()
		if !errors.Is(err, records.ErrExists) && !errors.Is(err, records.ErrChanged) &&
			!errors.Is(err, records.ErrNotFound) {
			return err
		}
	}
	return err
}

// read brings the view up to date. s.mu must be locked.
func (s *storedKeys) read(ctx context.Context) error {
	timed, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	old := s.view.Load()
	document, err := s.readRecord(timed, old.document)
	if ctx.Err() != nil {
		return ctx.Err() // the process ends, or the caller has given up
	}
	view := *old
	view.tried = s.now()
	switch {
	case err == nil:
		view.document, view.read, view.problem = document, view.tried, nil
		view.seen = seenKeys(old.seen, document, view.tried)
		if old.document == nil {
			view.first = view.tried
		}
	case old.document == nil || reasonOf(err) != ReasonStoreUnavailable:
		view.problem = err
	}
	s.view.Store(&view)
	s.report(err)
	return err
}

// seenKeys returns when each private key of a document was read first.
func seenKeys(before map[string]time.Time, d *keyDocument, now time.Time) map[string]time.Time {
	seen := map[string]time.Time{d.Current.Key.KeyID: now, d.Next.Key.KeyID: now}
	maps.Copy(seen, before)
	maps.DeleteFunc(seen, func(id string, _ time.Time) bool {
		return id != d.Current.Key.KeyID && id != d.Next.Key.KeyID
	})
	return seen
}

// report logs the beginning and the end of a problem.
func (s *storedKeys) report(err error) {
	before, now := reasonOf(s.lastErr), reasonOf(err)
	s.lastErr = err
	if now == before {
		return
	}
	if err == nil {
		s.logger.Info("the store of the authorization server is available again")
		return
	}
	level := slog.LevelError
	message := "the store of the authorization server cannot be used; no tokens are issued"
	if now == ReasonStoreUnavailable {
		level, message = slog.LevelWarn, "the store of the authorization server cannot be reached"
	}
	attrs := []any{slog.Any("error", err), slog.String("reason", string(now))}
	if e, ok := errors.AsType[*storeError](err); ok {
		attrs = append(attrs, slog.String("fix", e.fix))
	}
	s.logger.Log(context.Background(), level, message, attrs...)
}

// readRecord returns the current keys, and creates, restores or rotates them where that is necessary. Known
// are the keys that this process knows, or nil.
func (s *storedKeys) readRecord(ctx context.Context, known *keyDocument) (document *keyDocument, err error) {
	err = retryChanged(func() error {
		document, err = s.readRecordOnce(ctx, known)
		return err
	})
	if err != nil && reasonOf(err) == "" {
		err = storeUnreachable(err)
	}
	return document, err
}

func (s *storedKeys) readRecordOnce(ctx context.Context, known *keyDocument) (*keyDocument, error) {
	r, err := s.store.Get(ctx, keysID)
	isMissing := errors.Is(err, records.ErrNotFound)
	if err != nil && !isMissing {
		return nil, err
	}
	var document *keyDocument
	var invalid error
	if isMissing {
		r = records.Record{ID: keysID, Expires: s.now().Add(withoutEnd)}
	} else {
		document, invalid = s.open(r)
	}
	reseal := !s.resealed && s.now().Sub(s.started) >= resealAfter
	if !s.isMarked || isMissing || reseal {
		// A record that does not open may belong to another authorization server, whose marker was lost.
		if s.isMarked, err = markStore(ctx, s.storedConfig, invalid == nil, reseal); err != nil {
			return nil, err
		}
	}
	if invalid != nil {
		return nil, invalid
	}
	wanted, why, err := s.wanted(document, known)
	if err != nil {
		return nil, err
	}
	if reseal && why == "" && !s.seals.IsCurrent(seal.Content, recordContext(r.ID, r.Version), r.Sealed) {
		why = "the signing keys are sealed with another secret"
	}
	if why != "" {
		if err := s.write(ctx, r, wanted); err != nil {
			return nil, err
		}
		s.logger.Info(why, slog.Uint64("serial", wanted.Serial), slog.String("key", wanted.Current.Key.KeyID))
	}
	s.resealed = s.resealed || reseal
	return wanted, nil
}

// wanted returns the keys that the store should have, and why these are not those that it has.
func (s *storedKeys) wanted(stored, known *keyDocument) (wanted *keyDocument, why string, err error) {
	switch {
	case stored == nil && known == nil:
		wanted, err = newKeyDocument(s.algorithm, s.now())
		return wanted, "the store has its first signing keys", err
	case stored == nil:
		return known, "the store had lost the signing keys; they are stored again", nil
	case known != nil && stored.Serial < known.Serial:
		return known, "the store had earlier signing keys; the current ones are stored again", nil
	case stored.isDue(s.now()):
		wanted, err = stored.rotated(s.now(), s.tokenLifetime)
		return wanted, "the signing keys are rotated", err
	}
	return stored, "", nil
}

// write stores a document in the place of r, the record that was read; its version is 0 if there was none. An
// error of the store that another replica has caused is returned as it is.
func (s *storedKeys) write(ctx context.Context, r records.Record, document *keyDocument) error {
	plain, err := json.Marshal(document)
	if err != nil {
		return err
	}
	if r = sealRecord(s.seals, r, plain); r.Version == 0 {
		return s.store.Create(ctx, r)
	}
	_, err = s.store.Replace(ctx, r)
	return err
}

// open returns the keys of a record. The error has [ReasonRecordUnreadable].
func (s *storedKeys) open(r records.Record) (*keyDocument, error) {
	plain, err := openRecord(s.seals, r)
	if err != nil {
		return nil, recordUnreadable(err)
	}
	document, err := parseKeyDocument(plain, s.algorithm)
	if err != nil {
		return nil, recordUnreadable(err)
	}
	return document, nil
}
