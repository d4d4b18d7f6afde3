package store

import (
	"context"
	"errors"
	"net/url"
	"strings"
)

func Check(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "memory":
		return nil
	case err != nil:
		return errors.New("it is not a URL")
	case u.User != nil:
		return errors.New("it has a password")
	case u.Scheme != "file" && u.Scheme != "redis" && u.Scheme != "rediss":
		return errors.New("unknown")
	}
	return nil
}

func Open(ctx context.Context, text, password string) (Store, error) {
	return OpenFile(ctx, strings.TrimPrefix(text, "file://"), FileOptions{})
}
