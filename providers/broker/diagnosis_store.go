package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// storeExamination examines the store of the sign-ins. It changes nothing there.
type storeExamination struct {
	settings *Settings
	origin   string
	// read is what the first check has read.
	isRead, isUsed bool
	markErr        error
	seen           signInCount
	redis          redisState
}

// redisState is what Redis has said about itself.
type redisState struct {
	policy                       string
	policyKnown                  bool
	appendOnly, persistenceKnown bool
	offset                       time.Duration // of its clock
	clockErr                     error
}

// signInCount counts sign-ins: those without a refresh token of the provider, and those that other secrets have sealed.
type signInCount struct{ total, without, unreadable int }

// maxCounted bounds the sign-ins that are read.
const maxCounted = 500

const openCheck = "store.open"

type runFunc = func(context.Context, *http.Client) diagnostics.Outcome

func (x *storeExamination) checks() []diagnostics.Check {
	// Offline: none of them needs the provider.
	check := func(name, expected string, needs []string, run runFunc) diagnostics.Check {
		return diagnostics.Check{Name: name, Expected: expected, Offline: true, Needs: needs, Run: run}
	}
	opened := []string{openCheck}
	checks := []diagnostics.Check{check("store.secrets", "provider.secrets_file has the secret in use, and at most older ones "+
		"that are still needed", nil, x.secrets)}
	if path, ok := x.settings.storeFile(); ok {
		checks = append(checks,
			check("store.access", "other users can neither read nor change the file", nil,
				func(context.Context, *http.Client) diagnostics.Outcome { return storeAccess(path) }),
			check(openCheck, "the server uses the file, or can use it", nil,
				func(ctx context.Context, client *http.Client) diagnostics.Outcome {
					return x.openFile(ctx, client, path)
				}))
	} else {
		checks = append(checks, check(openCheck, "the store answers", nil, x.openOther))
	}
	checks = append(checks, check("store.owner", "it belongs to this authorization server, with these secrets", opened,
		x.owner))
	if x.settings.usesRedis() {
		checks = append(checks,
			check("store.eviction", "Redis removes nothing: maxmemory-policy is noeviction", opened, x.eviction),
			check("store.persistence", "Redis keeps each change on its disk: appendonly is yes", opened, x.persistence),
			check("store.clock", fmt.Sprintf("its clock differs from this computer's by less than %s", storeLeeway), opened,
				x.compareClock))
	}
	return checks
}

// usesRedis reports whether the store is in Redis or Valkey.
func (s *Settings) usesRedis() bool {
	return strings.HasPrefix(s.Store, "redis:") || strings.HasPrefix(s.Store, "rediss:")
}

// storeLeeway is the difference of clocks that leases and the grace period for refresh tokens have room for.
const storeLeeway = 5 * time.Second

// storeFile returns the path of a store in a file.
func (s *Settings) storeFile() (path string, ok bool) {
	u, err := url.Parse(s.Store)
	if err != nil || u.Scheme != "file" {
		return "", false
	}
	return filepath.FromSlash(u.Path), true
}

// manySecrets is the number of secrets from which a rotation was probably not ended.
const manySecrets = 3

func (x *storeExamination) secrets(context.Context, *http.Client) diagnostics.Outcome {
	keys, err := seal.Parse([]byte(x.settings.Secrets.Reveal()))
	if err != nil {
		return diagnostics.Failed(err.Error(), "run `gatehouse secret FILE`, and name that file")
	}
	switch n := keys.Len(); {
	case n >= manySecrets:
		return diagnostics.Warning(fmt.Sprintf("%d secrets: each of them opens what it has sealed, and one that is stolen "+
			"opens it too", n), "remove the last lines when no registration (provider.registration_lifetime) and no sign-in "+
			"(provider.session_lifetime) is older than the lines before them")
	case n > 1:
		return diagnostics.OK(fmt.Sprintf("%d secrets: the first one seals, and all of them open", n))
	}
	return diagnostics.OK("1 secret")
}

// storeAccess checks the mode of the file. A user who can write could remove it; its content is sealed.
func storeAccess(path string) diagnostics.Outcome {
	info, err := os.Stat(path)
	switch {
	case runtime.GOOS == "windows":
		return diagnostics.Skipped("Windows has no such modes")
	case errors.Is(err, fs.ErrNotExist):
		return diagnostics.Skipped("there is no file yet")
	case err != nil:
		return diagnostics.Failed("it cannot be examined: "+reasonOf(err), "run this command as the user of the server, in "+
			"its container")
	}
	mode := fmt.Sprintf("mode %04o", info.Mode().Perm())
	if info.Mode().Perm()&0o007 != 0 {
		return diagnostics.Warning(mode+": every user of this computer can read or change it", "chmod o= "+
			providers.Quote(path)+", and find out what changed it: the server creates it with mode 0600")
	}
	return diagnostics.OK(mode)
}

// lockPatience is how long another process may need to close the file.
const lockPatience = 200 * time.Millisecond

func (x *storeExamination) openFile(ctx context.Context, client *http.Client, path string) diagnostics.Outcome {
	const asServer = "; run this command as the user of the server, in its container"
	dir := filepath.Dir(path)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		info, err := os.Stat(dir)
		switch {
		case err != nil:
			return diagnostics.Failed("the folder "+providers.Quote(dir)+" cannot be used: "+reasonOf(err),
				"make a folder of mode 0700 that belongs to the user of the server, or mount a volume there"+asServer)
		case !info.IsDir():
			return diagnostics.Failed(providers.Quote(dir)+" is not a folder", "correct provider.store")
		case info.Mode().Perm()&0o002 != 0 && runtime.GOOS != "windows":
			return diagnostics.Failed(fmt.Sprintf("every user may write the folder (mode %04o): the server does not start with "+
				"it", info.Mode().Perm()), "chmod o-w "+providers.Quote(dir))
		}
		o := diagnostics.OK("the server makes it, in " + providers.Quote(dir))
		o.Stop = "there is no file yet"
		return o
	}
	patient, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	f, err := store.OpenFile(patient, path, store.FileOptions{ReadOnly: true})
	switch {
	case errors.Is(err, store.ErrInUse):
		o := x.inUse(ctx, client)
		o.Stop = "the store is in use, and only that process reads it"
		return o
	case errors.Is(err, fs.ErrPermission):
		return diagnostics.Failed("this user cannot read it", "let it belong to the user of the server"+asServer)
	case err != nil:
		return diagnostics.Failed(err.Error(), "repair or restore the file; if it is lost, move it elsewhere, and everyone "+
			"signs in again")
	}
	defer f.Close()
	return x.read(ctx, f, "not in use")
}

// inUse is the outcome if another process has the file open, which should be the server.
func (x *storeExamination) inUse(ctx context.Context, client *http.Client) diagnostics.Outcome {
	for _, address := range token.MetadataURLs(x.origin) {
		if m, err := token.ReadMetadata(ctx, client, address); err == nil && token.NamesIssuer(x.origin, m.Issuer) {
			return diagnostics.OK("in use by another process, and the server runs")
		}
	}
	return diagnostics.Warning("another process uses it, and no server answers at "+x.origin+": a server with this "+
		"configuration would not start", "end the process that uses the file, or give each server a file of its own; several "+
		"replicas need a store in Redis")
}

func (x *storeExamination) openOther(ctx context.Context, _ *http.Client) diagnostics.Outcome {
	if x.settings.Store == StoreMemory {
		o := diagnostics.OK("memory, for a resource on loopback: sign-ins end with the server")
		o.Stop = "only the server that runs has it"
		return o
	}
	records, err := x.settings.openStore(ctx, ReadOnly)
	const fix = "check provider.store and provider.store_password_file, that the store runs, and that this computer reaches " +
		"it; until then no person can sign in, and refreshes are answered 503; calls are not affected"
	if err != nil {
		return diagnostics.Failed(providers.Printable(err.Error(), 300), fix)
	}
	defer func() { _ = records.Close() }()
	if err := store.Ping(ctx, records); err != nil {
		return diagnostics.Failed(providers.Printable(err.Error(), 300), fix)
	}
	if redis, ok := records.(*store.Redis); ok {
		x.redis = readRedis(ctx, redis)
	}
	return x.read(ctx, records, "it answers")
}

func readRedis(ctx context.Context, redis *store.Redis) (r redisState) {
	r.policy, r.policyKnown = redis.EvictionPolicy(ctx)
	r.appendOnly, r.persistenceKnown = redis.AppendOnly(ctx)
	begun := time.Now()
	now, err := redis.Time(ctx)
	r.offset, r.clockErr = now.Sub(begun.Add(time.Since(begun)/2)), err
	return r
}

func (x *storeExamination) eviction(context.Context, *http.Client) diagnostics.Outcome {
	const fix = "set maxmemory-policy noeviction in the configuration of Redis, and give it a database of its own with enough " +
		"memory: 100,000 sign-ins need about 200 MB"
	switch policy := x.redis.policy; {
	case !x.redis.policyKnown:
		return diagnostics.Warning("Redis does not say what it does when its memory is full", fix)
	case policy != "noeviction":
		return diagnostics.Warning(providers.Quote(policy)+": when its memory is full, sign-ins are removed, and people sign "+
			"in again", fix)
	}
	return diagnostics.OK("noeviction")
}

func (x *storeExamination) persistence(context.Context, *http.Client) diagnostics.Outcome {
	const fix = "set appendonly yes in the configuration of Redis, on a disk that outlives the process"
	switch {
	case !x.redis.persistenceKnown:
		return diagnostics.Skipped("Redis does not say")
	case !x.redis.appendOnly:
		return diagnostics.Warning("appendonly is no: when Redis ends, the latest sign-ins are lost, and sign-ins that ended "+
			"may come back", fix)
	}
	return diagnostics.OK("appendonly is yes")
}

func (x *storeExamination) compareClock(context.Context, *http.Client) diagnostics.Outcome {
	if x.redis.clockErr != nil {
		return diagnostics.Failed(providers.Printable(x.redis.clockErr.Error(), 300), "allow the command TIME")
	}
	return diagnostics.CompareClocks(x.redis.offset, storeLeeway, "the store's", "records end at the wrong time, and two "+
		"replicas may ask the provider at once")
}

// read reads the marker and counts sign-ins while the store is open.
func (x *storeExamination) read(ctx context.Context, records store.Store, found string) diagnostics.Outcome {
	keys, err := seal.Parse([]byte(x.settings.Secrets.Reveal()))
	if err != nil {
		return diagnostics.Failed("provider.secrets_file: "+err.Error(), "run `gatehouse secret FILE`, and name that file")
	}
	x.isUsed, x.markErr = authserver.CheckStore(ctx, records, keys, x.origin)
	if x.markErr == nil {
		list, _, err := authserver.ListSignIns(ctx, records, keys, authserver.SignInFilter{}, "", maxCounted)
		if err != nil {
			return diagnostics.Failed(providers.Printable(err.Error(), 300), "check the store; its log may have the reason")
		}
		x.isRead = true
		x.seen = count(list)
	}
	if x.seen.total > 0 {
		more := ""
		if x.seen.total == maxCounted {
			more = " or more"
		}
		found += fmt.Sprintf("; sign-ins: %d%s", x.seen.total, more)
	}
	return diagnostics.OK(found)
}

func count(list []authserver.SignIn) (n signInCount) {
	for _, one := range list {
		n.total++
		switch {
		case one.Unreadable:
			n.unreadable++
		case one.WithoutRefresh:
			n.without++
		}
	}
	return n
}

func (x *storeExamination) owner(context.Context, *http.Client) diagnostics.Outcome {
	switch err := x.markErr; {
	case errors.Is(err, authserver.ErrForeignStore):
		return diagnostics.Failed(err.Error(), "use another store, or another database of it, for this authorization server; "+
			"if its secrets were replaced, put the old one back as the last line of provider.secrets_file; if they are lost, or "+
			"the origin of resource has changed, empty the store: everyone signs in again")
	case err != nil:
		return diagnostics.Failed(providers.Printable(err.Error(), 300), "check the store, and provider.secrets_file")
	case !x.isUsed:
		return diagnostics.OK("it is not used yet")
	case x.seen.unreadable > 0:
		return diagnostics.Warning(fmt.Sprintf("it does, and %d of %d sign-ins do not open with these secrets",
			x.seen.unreadable, x.seen.total), "put the secret that was removed back as the last line of "+
			"provider.secrets_file, or let these people sign in again")
	}
	return diagnostics.OK("its marker opens with these secrets")
}

// reasonOf strips the path that the os package puts in front of its errors.
func reasonOf(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return strings.TrimSpace(err.Error())
}
