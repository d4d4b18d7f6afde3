package broker

import (
	"context"
	"net/http"
	"strings"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver/store"
	"gatehouse/providers/diagnostics"
)

// usesRedis reports whether the store is in Redis or Valkey.
func (s *Settings) usesRedis() bool {
	return strings.HasPrefix(s.Store, "redis:") || strings.HasPrefix(s.Store, "rediss:")
}

// storeLeeway is the difference of clocks that leases and the grace period for refresh tokens have room for.
const storeLeeway = 5 * time.Second

// redisState is what Redis has said about itself.
type redisState struct {
	policy                       string
	policyKnown                  bool
	appendOnly, persistenceKnown bool
	offset                       time.Duration // of its clock
	clockErr                     error
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
	const fix = "set maxmemory-policy noeviction in the configuration of Redis, and give it a database of its " +
		"own with enough memory: 100,000 sign-ins need about 200 MB"
	switch policy := x.redis.policy; {
	case !x.redis.policyKnown:
		return diagnostics.Warning("Redis does not say what it does when its memory is full", fix)
	case policy != "noeviction":
		return diagnostics.Warning(providers.Quote(policy)+": when its memory is full, sign-ins are removed, and "+
			"people sign in again", fix)
	}
	return diagnostics.OK("noeviction")
}

func (x *storeExamination) persistence(context.Context, *http.Client) diagnostics.Outcome {
	const fix = "set appendonly yes in the configuration of Redis, on a disk that outlives the process"
	switch {
	case !x.redis.persistenceKnown:
		return diagnostics.Skipped("Redis does not say")
	case !x.redis.appendOnly:
		return diagnostics.Warning("appendonly is no: when Redis ends, the latest sign-ins are lost, and sign-ins "+
			"that ended may come back", fix)
	}
	return diagnostics.OK("appendonly is yes")
}

func (x *storeExamination) compareClock(context.Context, *http.Client) diagnostics.Outcome {
	if x.redis.clockErr != nil {
		return diagnostics.Failed(providers.Printable(x.redis.clockErr.Error(), 300), "allow the command TIME")
	}
	return diagnostics.CompareClocks(x.redis.offset, storeLeeway, "the store's", "records end at the wrong "+
		"time, and two replicas may ask the provider at once")
}
