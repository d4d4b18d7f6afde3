package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Redis is a [Store] in Redis or Valkey, of version 6 or later, which several processes share. Its clock decides when
// records expire.
//
// A record is one string, which one script creates or replaces. The ids of an owner are a sorted set by expiry, for
// ByOwner. There is no list of all records: All reads the keys of the database, so that no list can lose one.
type Redis struct {
	calls   *redisCalls
	scripts redisScripts
	prefix  string
	address string
	hide    string // the password
}

// mgetBatch is how many records one call reads at most, and scanBatch how many keys.
const (
	mgetBatch = 100
	scanBatch = 1000
)

// Create implements [Store].
func (r *Redis) Create(ctx context.Context, record Record) error {
	record, err := record.check()
	if err != nil {
		return err
	}
	record.Version = 1
	created, err := r.calls.change(ctx, r.scripts.create, r.recordKey(record.ID),
		encodeText(record), milliseconds(record), record.Owner, r.ownerKey(""), record.ID)
	if err == nil && created == 0 {
		return ErrExists
	}
	return r.describe(err)
}

// Get implements [Store].
func (r *Redis) Get(ctx context.Context, id string) (Record, error) {
	if err := checkID(id); err != nil {
		return Record{}, err
	}
	value, err := redis.String(r.calls.read(ctx, "GET", r.recordKey(id)))
	if errors.Is(err, redis.ErrNil) {
		return Record{}, ErrNotFound
	}
	if err != nil {
		return Record{}, r.describe(err)
	}
	record, err := decodeText(id, value)
	return record, r.describe(err)
}

// Replace implements [Store].
func (r *Redis) Replace(ctx context.Context, record Record) (version uint64, err error) {
	if record, err = record.check(); err != nil {
		return 0, err
	}
	before := strconv.FormatUint(record.Version, 10)
	version = record.Version + 1
	answer, err := r.calls.change(ctx, r.scripts.replace, r.recordKey(record.ID), before,
		strconv.FormatUint(version, 10), milliseconds(record), string(record.Sealed), r.ownerKey(""), record.ID)
	switch {
	case err != nil:
		return 0, r.describe(err)
	case answer == 0:
		return 0, ErrNotFound
	case answer == 1:
		return 0, ErrChanged
	}
	return version, nil
}

// Delete implements [Store].
func (r *Redis) Delete(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	_, err := r.calls.change(ctx, r.scripts.remove, r.recordKey(id), r.ownerKey(""), id)
	return r.describe(err)
}

// ByOwner implements [Store].
func (r *Redis) ByOwner(ctx context.Context, owner, after string, limit int) ([]Record, error) {
	if err := checkPage(owner, after); err != nil || owner == "" || limit <= 0 {
		return nil, err
	}
	ids, err := redis.Strings(r.calls.read(ctx, "ZRANGE", r.ownerKey(owner), "0", "-1"))
	if err != nil {
		return nil, r.describe(err)
	}
	return r.page(ctx, after, limit, func(p *page) error {
		for _, id := range ids {
			p.add(id)
		}
		return nil
	}, func(record Record) bool { return record.Owner == owner })
}

// All implements [Store].
func (r *Redis) All(ctx context.Context, after string, limit int) ([]Record, error) {
	if err := checkPage("", after); err != nil || limit <= 0 {
		return nil, err
	}
	prefix := r.recordKey("")
	return r.page(ctx, after, limit, func(p *page) error {
		for cursor, first := "0", true; first || cursor != "0"; first = false {
			var keys []string
			answer, err := redis.Values(r.calls.read(ctx, "SCAN", cursor, "MATCH", prefix+"*", "COUNT", scanBatch))
			if err == nil {
				_, err = redis.Scan(answer, &cursor, &keys)
			}
			if err != nil {
				return r.describe(err)
			}
			for _, key := range keys {
				p.add(strings.TrimPrefix(key, prefix))
			}
		}
		return nil
	}, func(Record) bool { return true })
}

// page reads up to limit records. Ids of records that end meanwhile leave room for others, so the ids are collected
// again until the page is full or there are no more.
func (r *Redis) page(ctx context.Context, after string, limit int, collect func(*page) error,
	match func(Record) bool) (found []Record, err error) {
	for len(found) < limit {
		next := page{after: after, limit: limit - len(found)}
		if err := collect(&next); err != nil {
			return nil, err
		}
		ids := next.sorted()
		for len(ids) > 0 {
			batch := ids[:min(len(ids), mgetBatch)]
			records, err := r.records(ctx, batch)
			if err != nil {
				return nil, err
			}
			for _, record := range records {
				if match(record) {
					found = append(found, record)
				}
			}
			after, ids = batch[len(batch)-1], ids[len(batch):]
		}
		if len(next.ids) < next.limit {
			break
		}
	}
	return found, nil
}

// records returns those of the records that exist.
func (r *Redis) records(ctx context.Context, ids []string) ([]Record, error) {
	keys := make([]any, len(ids))
	for i, id := range ids {
		keys[i] = r.recordKey(id)
	}
	values, err := redis.ByteSlices(r.calls.read(ctx, "MGET", keys...))
	if err == nil && len(values) != len(ids) {
		err = errors.New("it answers MGET with another number of values")
	}
	if err != nil {
		return nil, r.describe(err)
	}
	var found []Record
	for i, value := range values {
		if value == nil {
			continue
		}
		record, err := decodeText(ids[i], string(value))
		if err != nil {
			return nil, r.describe(err)
		}
		found = append(found, record)
	}
	return found, nil
}

// EvictionPolicy returns the setting maxmemory-policy of the server. A server with another policy than "noeviction"
// removes records when its memory is full, and people must sign in again. known is false if the server does not say.
func (r *Redis) EvictionPolicy(ctx context.Context) (policy string, known bool) {
	settings, err := redis.StringMap(r.calls.read(ctx, "CONFIG", "GET", "maxmemory-policy"))
	if policy := settings["maxmemory-policy"]; err == nil && policy != "" {
		return policy, true
	}
	// Hosted servers refuse CONFIG, but not INFO.
	info, err := redis.String(r.calls.read(ctx, "INFO", "memory"))
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(info) {
		if policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok && policy != "" {
			return policy, true
		}
	}
	return "", false
}

// Time returns the time of the server.
func (r *Redis) Time(ctx context.Context) (time.Time, error) {
	parts, err := redis.Int64s(r.calls.read(ctx, "TIME"))
	if err == nil && len(parts) != 2 {
		err = errors.New("it answers TIME with another value than a time")
	}
	if err != nil {
		return time.Time{}, r.describe(err)
	}
	return time.Unix(parts[0], parts[1]*1000), nil
}

// Close implements [Store].
func (r *Redis) Close() error {
	return r.calls.pool.Close()
}

func (r *Redis) recordKey(id string) string   { return r.prefix + "record:" + id }
func (r *Redis) ownerKey(owner string) string { return r.prefix + "owner:" + owner }

// A record is stored as "1 VERSION EXPIRES OWNER", a line break, and the content. The scripts read the first line.
func encodeText(r Record) string {
	return "1 " + strconv.FormatUint(r.Version, 10) + " " + milliseconds(r) + " " + r.Owner + "\n" + string(r.Sealed)
}

func decodeText(id, value string) (Record, error) {
	line, sealed, _ := strings.Cut(value, "\n")
	fields := strings.Split(line, " ")
	if len(fields) != 4 || fields[0] != "1" {
		return Record{}, errors.New("a record has another format")
	}
	version, versionErr := strconv.ParseUint(fields[1], 10, 64)
	expires, expiresErr := strconv.ParseInt(fields[2], 10, 64)
	if err := errors.Join(versionErr, expiresErr); err != nil {
		return Record{}, errors.New("a record has another format")
	}
	return Record{ID: id, Owner: fields[3], Version: version, Expires: time.UnixMilli(expires).UTC(),
		Sealed: []byte(sealed)}, nil
}

func milliseconds(r Record) string { return strconv.FormatInt(r.Expires.UnixMilli(), 10) }

// describe adds what failed. It removes what a server repeats of a command, which may be a password.
func (r *Redis) describe(err error) error {
	if err == nil {
		return nil
	}
	var answer redis.Error
	if errors.As(err, &answer) {
		text, _, _ := strings.Cut(answer.Error(), ", with args")
		if r.hide != "" && strings.Contains(text, r.hide) {
			text, _, _ = strings.Cut(text, " ")
		}
		err = fmt.Errorf("answer %.100q", text)
	}
	return fmt.Errorf("redis store %s: %w", r.address, err)
}
