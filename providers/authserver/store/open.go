package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// InMemory is the "URL" of the store in memory.
const InMemory = "memory"

// memoryLimit is for a computer of one person: the other stores have no limit of their own.
const memoryLimit = 10_000

// Check says what is wrong with the URL of a store, without opening it. The URLs are:
//
//	memory                                       records end with the process
//	file:///var/lib/gatehouse/sign-ins.db        a file on this computer, for one process
//	redis://[USER@]HOST[:PORT][/DATABASE][?prefix=PREFIX]
//	rediss://...                                 the same over TLS
//
// DATABASE is a number, 0 by default. PREFIX, "gatehouse:" by default, comes before each key. The URL must not have a
// password: configurations and process lists are shown to many. No error text repeats the URL.
func Check(rawURL string) error {
	_, err := parseURL(rawURL)
	return err
}

// Open opens the store with this URL. A file is opened at once, see [OpenFile]. Redis may be down: its calls return
// errors until it is there. The password is that of Redis.
func Open(ctx context.Context, rawURL, password string) (Store, error) {
	return open(ctx, rawURL, password, false)
}

// OpenReadOnly is Open for listing records. It does not create a file. Memory is refused, because no other process has
// its records.
func OpenReadOnly(ctx context.Context, rawURL, password string) (Store, error) {
	return open(ctx, rawURL, password, true)
}

func open(ctx context.Context, rawURL, password string, readOnly bool) (Store, error) {
	at, err := parseURL(rawURL)
	switch {
	case err != nil:
		return nil, err
	case at.file != "":
		return OpenFile(ctx, at.file, FileOptions{ReadOnly: readOnly})
	case at.redis.address != "":
		return newRedis(at.redis, password, nil), nil
	case readOnly:
		return nil, errors.New("the records are in the memory of the server")
	default:
		return NewMemory(memoryLimit, time.Now), nil
	}
}

// location is a parsed URL; one of file and redis.address is set, or none for memory.
type location struct {
	file  string
	redis redisLocation
}

type redisLocation struct {
	address  string // host and port
	host     string
	tls      bool
	user     string
	database int
	prefix   string
}

func parseURL(rawURL string) (location, error) {
	if rawURL == InMemory {
		return location{}, nil
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return location{}, errors.New("not a URL") // the error of url.Parse repeats parts of it
	}
	if _, hasPassword := u.User.Password(); hasPassword {
		return location{}, errors.New("the URL has a password: put it into a file of its own")
	}
	if u.Fragment != "" || strings.HasSuffix(rawURL, "#") {
		return location{}, errors.New("the URL has a fragment")
	}
	switch u.Scheme {
	case "file":
		file, err := parseFile(u)
		return location{file: file}, err
	case "redis", "rediss":
		redis, err := parseRedis(u)
		return location{redis: redis}, err
	default:
		return location{}, errors.New("a store is memory, or begins with file:///, redis:// or rediss://")
	}
}

func parseFile(u *url.URL) (string, error) {
	switch {
	case u.Host != "" || u.User != nil || u.Opaque != "" || !strings.HasPrefix(u.Path, "/"):
		return "", errors.New("a file needs an absolute path, with three slashes: file:///var/lib/gatehouse/sign-ins.db")
	case u.RawQuery != "" || u.ForceQuery:
		return "", errors.New("a file has no query")
	case strings.HasSuffix(u.Path, "/"):
		return "", errors.New("the path is that of a folder: add the name of the file")
	case strings.ContainsRune(u.Path, 0):
		return "", errors.New("the path has a zero byte")
	}
	return path.Clean(u.Path), nil
}

func parseRedis(u *url.URL) (redisLocation, error) {
	at := redisLocation{host: u.Hostname(), tls: u.Scheme == "rediss", user: u.User.Username(), prefix: "gatehouse:"}
	if at.host == "" {
		return redisLocation{}, fmt.Errorf("Redis needs a host: %s://HOST:6379/0", u.Scheme)
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return redisLocation{}, errors.New("the port is not a number from 1 to 65535")
	}
	at.address = net.JoinHostPort(at.host, port)
	if u.User != nil && at.user == "" {
		return redisLocation{}, errors.New("the user has no name")
	}
	if database := strings.TrimPrefix(u.Path, "/"); database != "" {
		number, err := strconv.ParseUint(database, 10, 16)
		if err != nil {
			return redisLocation{}, errors.New("the path is the number of the database, such as /0")
		}
		at.database = int(number)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return redisLocation{}, errors.New("the query cannot be read")
	}
	for name, values := range query {
		if name != "prefix" || len(values) != 1 {
			return redisLocation{}, errors.New("the query may have one prefix and nothing else")
		}
		if at.prefix = values[0]; !isPrefix(at.prefix) {
			return redisLocation{}, errors.New(`the prefix has 1 to 64 letters, digits, "-", "_", ":" and "."`)
		}
	}
	return at, nil
}

// isPrefix reports whether a prefix has no character with a meaning in a pattern of Redis.
func isPrefix(s string) bool {
	return len(s) <= 64 && isID(strings.ReplaceAll(s, ".", "-"))
}
