package broker

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// secrets are the values of a run that must be in no log, page or store.
type secrets struct {
	mu     sync.Mutex
	values map[string]string // what each is
	pages  bytes.Buffer
}

func newSecrets() *secrets {
	return &secrets{values: map[string]string{"@corp.example": "an e-mail address"}}
}

// minSecret is the length of values that cannot be elsewhere by chance.
const minSecret = 12

func (s *secrets) add(what, value string) {
	if len(value) < minSecret {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[value] = what
}

func (s *secrets) addValues(from url.Values, names ...string) {
	for _, name := range names {
		s.add(name, from.Get(name))
	}
}

// addTokens adds the members of a JSON object that are secrets.
func (s *secrets) addTokens(whose string, raw []byte) {
	var answer map[string]any
	if json.Unmarshal(raw, &answer) != nil {
		return
	}
	for _, name := range []string{"access_token", "refresh_token", "id_token", "client_secret"} {
		if text, ok := answer[name].(string); ok {
			s.add(name+" "+whose, text)
		}
	}
}

// addAnswer adds what an answer to a browser or a client has: cookies, and the query of its redirect.
func (s *secrets) addAnswer(resp *http.Response) {
	for _, cookie := range resp.Cookies() {
		s.add("cookie "+cookie.Name, cookie.Value)
	}
	if target, err := resp.Location(); err == nil {
		s.addValues(target.Query(), "code", "state", "nonce")
	}
}

// scan fails the test if content has one of the values.
func (s *secrets) scan(t *testing.T, where string, content []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for value, what := range s.values {
		if i := bytes.Index(content, []byte(value)); i >= 0 {
			t.Errorf("%s has a secret of the run, %s: %q", where, what,
				content[max(0, i-80):min(len(content), i+len(value)+20)])
		}
	}
}

func (s *secrets) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.values)
}

func (s *secrets) addPage(page []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages.Write(page)
}

// scanPages searches the pages. Their links and forms have codes and states of the same browser, which are not secret
// to it.
func (s *secrets) scanPages(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	others := &secrets{values: map[string]string{}}
	for value, what := range s.values {
		if what != "code" && what != "state" && what != "nonce" && !strings.HasPrefix(what, "cookie ") {
			others.values[value] = what
		}
	}
	pages := bytes.Clone(s.pages.Bytes())
	s.mu.Unlock()
	if len(pages) == 0 {
		t.Error("no page was shown")
	}
	others.scan(t, "a page", pages)
}
