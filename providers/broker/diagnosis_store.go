package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
	"gatehouse/providers/diagnostics"
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

// signInCount counts sign-ins: those without a refresh token of the provider, and those that other secrets have sealed.
type signInCount struct{ total, without, unreadable int }

// maxCounted bounds the sign-ins that are read. Redis goes through all keys for each 200 of them.
const maxCounted = 100

const openCheck = "store.open"

type runFunc = func(context.Context, *http.Client) diagnostics.Outcome

func (x *storeExamination) checks() []diagnostics.Check {
	// Offline: none of them needs the provider.
	check := func(name, expected string, needs []string, run runFunc) diagnostics.Check {
		return diagnostics.Check{Name: name, Expected: expected, Offline: true, Needs: needs, Run: run}
	}
	opened := []string{openCheck}
	checks := []diagnostics.Check{check("store.secrets", "provider.secrets_file has the secret in use, and at "+
		"most older ones that are still needed", nil, x.secrets)}
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

// manySecrets is the number of secrets from which a rotation was probably not ended.
const manySecrets = 3

func (x *storeExamination) secrets(context.Context, *http.Client) diagnostics.Outcome {
	keys, err := seal.Parse([]byte(x.settings.Secrets.Reveal()))
	if err != nil {
		return diagnostics.Failed(err.Error(), "run `gatehouse secret FILE`, and name that file")
	}
	switch n := keys.Len(); {
	case n >= manySecrets:
		return diagnostics.Warning(fmt.Sprintf("%d secrets: each of them opens what it has sealed, and one that is "+
			"stolen opens it too", n), "remove the last lines when no registration (provider.registration_lifetime) "+
			"and no sign-in (provider.session_lifetime) is older than the lines before them")
	case n > 1:
		return diagnostics.OK(fmt.Sprintf("%d secrets: the first one seals, and all of them open", n))
	}
	return diagnostics.OK("1 secret")
}

func (x *storeExamination) openOther(ctx context.Context, _ *http.Client) diagnostics.Outcome {
	if x.settings.Store == store.InMemory {
		o := diagnostics.OK("memory, for a resource on loopback: sign-ins end with the server")
		o.Stop = "only the server that runs has it"
		return o
	}
	records, err := x.settings.openStore(ctx, ReadOnly)
	const fix = "check provider.store and provider.store_password_file, that the store runs, and that this " +
		"computer reaches it; until then no person can sign in, and refreshes are answered 503; calls are not affected"
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
		return diagnostics.Failed(err.Error(), "use another store, or another database of it, for this "+
			"authorization server; if its secrets were replaced, put the old one back as the last line of "+
			"provider.secrets_file; if they are lost, or the origin of resource has changed, empty the store: "+
			"everyone signs in again")
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
