package authserver

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"gatehouse/providers/authserver/seal"
)

// datedIDs issues random values of the form RANDOM-TIME-MAC. TIME is when the value was issued, in seconds since 1970
// to base 36. MAC proves that one of the processes with these keys has issued it, for this purpose. So a value says by
// itself whether it is over, or was never issued: nothing is stored for it.
type datedIDs struct {
	keys    *seal.Keys
	purpose string
}

// datedMAC is the length of the MAC in bytes.
const datedMAC = 16

func (ids datedIDs) issue(now time.Time) string {
	id := rand.Text() + "-" + strconv.FormatInt(now.Unix(), 36)
	return id + "-" + hex.EncodeToString(ids.keys.MAC(seal.Form, ids.message(id))[:datedMAC])
}

// issuedAt returns when the id was issued. It is false for one that was not issued with these keys.
func (ids datedIDs) issuedAt(id string) (time.Time, bool) {
	at := strings.LastIndexByte(id, '-')
	if at < 0 {
		return time.Time{}, false
	}
	sum, err := hex.DecodeString(id[at+1:])
	if err != nil || len(sum) != datedMAC || hex.EncodeToString(sum) != id[at+1:] ||
		!ids.keys.CheckMAC(seal.Form, ids.message(id[:at]), sum) {
		return time.Time{}, false
	}
	_, issued, _ := strings.Cut(id[:at], "-")
	seconds, err := strconv.ParseInt(issued, 36, 64)
	return time.Unix(seconds, 0), err == nil
}

func (ids datedIDs) message(id string) string { return ids.purpose + "\n" + id }
