package main

import (
	"context"
	"fmt"

	brokers "gatehouse/providers/broker"
)

const rotateKeysHelp = `Replace the key that signs tokens, for all replicas that use the store. They do so by themselves
every 30 days; this command is for a key that others may know. With --withdraw, keys of before are not published any
more: tokens that they signed are refused within a minute, and no replica issues tokens for 80 seconds, until all of
them have the new key. Clients get new tokens with their refresh tokens. Without it, tokens that were issued stay valid.

A store in Redis can be changed while servers run. A file cannot be opened by a second process: stop the server first.

`

func rotateKeys(ctx context.Context, args []string, c console) int {
	flags := newFlags("broker rotate-keys", rotateKeysHelp+settingsHelp, c)
	withdraw := flags.Bool("withdraw", false, "refuse tokens that the keys of before have signed")
	settings := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	sealed, code := c.openSignIns(ctx, settings(), brokers.ReadWrite)
	if sealed == nil {
		return code
	}
	defer sealed.Close()
	if err := sealed.RotateKeys(ctx, *withdraw); err != nil {
		return c.signInsFailed(err)
	}
	fmt.Fprintln(c.stdout, "the signing key is replaced")
	return exitOK
}
