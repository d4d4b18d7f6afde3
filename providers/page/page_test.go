package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"gatehouse/providers/page"
)

func parse(t *testing.T, body string) *page.Templates {
	t.Helper()
	templates, err := page.Parse(fstest.MapFS{"test.html": {
		Data: []byte(`{{template "head" .}}` + body + `{{template "foot" .}}`)}}, "*.html")
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

func TestWrite(t *testing.T) {
	templates := parse(t, `<p>{{.Data}}</p>`)
	w := httptest.NewRecorder()
	err := templates.Write(w, http.StatusTeapot, "test.html",
		page.Page{Title: "<Title>", Site: "Site", RequestID: "id-1", Data: "<script>"})
	if err != nil || w.Code != http.StatusTeapot {
		t.Fatalf("status %d, %v", w.Code, err)
	}
	for _, want := range []string{
		"<title>&lt;Title&gt; · Site</title>", "<p>&lt;script&gt;</p>", "<code>id-1</code>", `lang="en"`,
		`<link rel="icon" href="data:image/svg`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %q: %s", want, w.Body)
		}
	}
	_, rest, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	hash := sha256.Sum256([]byte(style))
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "';",
		"form-action 'none';", "frame-ancestors 'none';", "base-uri 'none';",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %q", policy, want)
		}
	}
}

func TestWrite_FormAction(t *testing.T) {
	w := httptest.NewRecorder()
	_ = parse(t, "").Write(w, http.StatusOK, "test.html", page.Page{FormAction: "'self' https://app.example"})
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy,
		"form-action 'self' https://app.example;") {
		t.Errorf("the policy is %q", policy)
	}
}

func TestWrite_Refresh(t *testing.T) {
	for refresh, want := range map[time.Duration]string{
		5 * time.Second: `<meta http-equiv="refresh" content="5">`, 0: "",
	} {
		w := httptest.NewRecorder()
		err := parse(t, "").Write(w, http.StatusOK, "test.html", page.Page{Refresh: refresh})
		if has := strings.Contains(w.Body.String(), "http-equiv"); err != nil || has != (want != "") ||
			!strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %v\n%s", refresh, err, w.Body)
		}
	}
}

func TestWrite_RefreshTo(t *testing.T) {
	for address, want := range map[template.URL]string{
		"https://app.example/?a=1&b=%27": `<meta http-equiv="refresh" content="0; url=https://app.example/?a=1&amp;b=%27">`,
		"com.example.app:/cb":            `<meta http-equiv="refresh" content="0; url=com.example.app:/cb">`,
		"":                               "",
	} {
		w := httptest.NewRecorder()
		err := parse(t, "").Write(w, http.StatusOK, "test.html", page.Page{RefreshTo: address})
		if has := strings.Contains(w.Body.String(), "http-equiv"); err != nil || has != (want != "") ||
			!strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %v\n%s", address, err, w.Body)
		}
	}
}

// The policy allows the style sheet by its hash.
func TestAddStyle(t *testing.T) {
	templates := parse(t, "")
	const rule = ".bar{fill:red}"
	templates.AddStyle(rule)
	w := httptest.NewRecorder()
	if err := templates.Write(w, http.StatusOK, "test.html", page.Page{}); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	hash := sha256.Sum256([]byte(style))
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(style, ":root{") || !strings.HasSuffix(style, rule) ||
		!strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"'") {
		t.Errorf("the policy is %q, the style ends with %q", policy, style[len(style)-30:])
	}
}

func TestWrite_TemplateErrorWritesNothing(t *testing.T) {
	w := httptest.NewRecorder()
	err := parse(t, "{{.Data.Missing}}").Write(w, http.StatusOK, "test.html", page.Page{Data: "text"})
	if err == nil || w.Body.Len() > 0 || len(w.Header()) > 0 {
		t.Errorf("error %v, body %q, header %v", err, w.Body, w.Header())
	}
}

func TestParse_ReportsErrors(t *testing.T) {
	for name, dir := range map[string]fstest.MapFS{
		"no template":       {},
		"a broken template": {"test.html": {Data: []byte("{{")}},
	} {
		if _, err := page.Parse(dir, "*.html"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
