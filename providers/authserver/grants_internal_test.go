package authserver

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestGrant_KeepsMembersOfLaterVersions(t *testing.T) {
	plain, err := (&grant{Format: grantFormat, ClientID: "client", Code: &codeTerms{Nonce: "n"},
		Person: Person{Subject: "alice", Credential: "secret"}}).encode()
	if err != nil {
		t.Fatal(err)
	}
	later := `{"added":{"x":[1]},` + strings.Replace(string(plain[1:]), `"v":1`, `"v":2`, 1)
	g, err := decodeGrant([]byte(later))
	if err != nil {
		t.Fatal(err)
	}
	g.Code, g.Generation, g.Person.Credential = nil, 7, ""
	again, err := g.encode()
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(again, &members); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"added": `{"x":[1]}`, "v": "2", "generation": "7", "client": `"client"`,
		"code": "null"} {
		if got := string(members[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if strings.Contains(string(again), "secret") {
		t.Errorf("a removed value is back: %s", again)
	}
	if back, err := decodeGrant(again); err != nil || back.Generation != 7 {
		t.Errorf("%+v, %v", back, err)
	}
}

// A client that refreshes without a pause must not make its record grow.
func TestGrant_RemembersFewRotations(t *testing.T) {
	g, now := &grant{}, time.Now()
	for n := range uint64(100) {
		g.advance(now.Add(time.Duration(n)*time.Second/2), n+1, time.Minute, "")
	}
	now = now.Add(50 * time.Second)
	if len(g.Rotated) != maxRotations {
		t.Errorf("%d rotations", len(g.Rotated))
	}
	for generation, want := range map[uint64]replacement{
		102: unknown, 101: current, 100: current, 99: repeatable, 98: replayed, 97: outdated, 80: outdated,
		68: outdated, 67: outdated, 1: outdated, // forgotten, and not known to be older than the grace period
	} {
		if got := g.judge(now, generation, time.Minute); got != want {
			t.Errorf("generation %d: %d, want %d", generation, got, want)
		}
	}
	for generation, want := range map[uint64]replacement{100: current, 99: replayed, 80: replayed, 1: replayed} {
		if got := g.judge(now.Add(time.Hour), generation, time.Minute); got != want {
			t.Errorf("an hour later, generation %d: %d, want %d", generation, got, want)
		}
	}
	g.advance(now.Add(time.Hour), 101, time.Minute, "")
	if len(g.Rotated) != 1 {
		t.Errorf("%d rotations are left", len(g.Rotated))
	}
}

func TestReasons_AreDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if r.Meaning == "" || seen[string(r.Code)] {
			t.Errorf("%s has no meaning, or is listed twice", r.Code)
		}
		seen[string(r.Code)] = true
	}
}
