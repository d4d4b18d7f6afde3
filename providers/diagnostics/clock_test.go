package diagnostics_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/diagnostics"
)

func TestClock(t *testing.T) {
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = header["Date"]
		w.Header()["Age"] = header["Age"]
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	const ok, failed, skipped = diagnostics.VerdictOK, diagnostics.VerdictFailed, diagnostics.VerdictSkipped
	for name, c := range map[string]struct {
		header  http.Header
		host    string
		verdict diagnostics.Verdict
		found   string
	}{
		"right":                     {http.Header{"Date": {date(0)}}, "", ok, "apart"},
		"right, of the host":        {http.Header{"Date": {date(0)}}, host, ok, "apart"},
		"ahead":                     {http.Header{"Date": {date(time.Hour)}}, "", failed, "other's clock is 1h0m0s ahead"},
		"behind":                    {http.Header{"Date": {date(-time.Hour)}}, "", failed, "behind"},
		"from a cache":              {http.Header{"Date": {date(-time.Hour)}, "Age": {"3600"}}, "", ok, "apart"},
		"of another host":           {http.Header{"Date": {date(time.Hour)}}, "login.example.com", skipped, ""},
		"no date":                   {http.Header{"Date": nil}, "", skipped, ""},
		"a date that is not a date": {http.Header{"Date": {"today"}}, "", skipped, ""},
	} {
		t.Run(name, func(t *testing.T) {
			header = c.header
			transport := &http.Transport{DisableKeepAlives: true}
			clock := diagnostics.NewClock(transport, c.host)
			resp, err := (&http.Client{Transport: clock}).Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			o := clock.Compare(time.Minute, "the other's", "nothing works")
			found := strings.Replace(o.Found, "59m59s", "1h0m0s", 1)
			if o.Verdict != c.verdict || !strings.Contains(found, c.found) ||
				o.Verdict == diagnostics.VerdictFailed && !strings.Contains(o.Fix, "the other's): nothing works") {
				t.Errorf("%+v", o)
			}
		})
	}
}
