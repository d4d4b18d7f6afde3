package providers_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/providers"
)

func TestSecretIsRedacted(t *testing.T) {
	const value = "hunter2"
	secret := providers.Secret(value)
	type settings struct {
		Name   string
		Secret providers.Secret
		List   []providers.Secret
		Map    map[string]providers.Secret
	}
	s := settings{"x", secret, []providers.Secret{secret}, map[string]providers.Secret{"x": secret}}

	shown := map[string]string{"String": secret.String()}
	for _, verb := range strings.Split("%v %+v %#v %s %q %x %X %d %t %c %U %o %b %e %10s %-10.3s %!", " ") {
		shown["Sprintf "+verb] = fmt.Sprintf(verb, secret)
		shown["Sprintf "+verb+" of a pointer"] = fmt.Sprintf(verb, &secret)
		shown["Sprintf "+verb+" of a struct"] = fmt.Sprintf(verb, s)
		shown["Sprintf "+verb+" of a pointer to a struct"] = fmt.Sprintf(verb, &s)
	}
	shown["an error"] = fmt.Errorf("with %v: %w", secret, errors.New("x")).Error()
	shown["JSON"] = string(must(json.Marshal(s)))
	shown["YAML"] = string(must(yaml.Marshal(s)))
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text log": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON log": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("x", "secret", secret, "pointer", &secret, "settings", s, "both",
			[]any{secret, &s})
		shown[name] = b.String()
	}
	for how, text := range shown {
		if strings.Contains(text, value) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", value)) {
			t.Errorf("%s shows it: %s", how, text)
		}
	}
	if got := fmt.Sprintf("%v|%v", secret, providers.Secret("")); got != "[redacted]|" {
		t.Errorf("it reads %q", got)
	}
	if secret.Reveal() != value {
		t.Error("Reveal does not give it")
	}
}

func TestSecretUnmarshals(t *testing.T) {
	var s struct{ Secret providers.Secret }
	if err := json.Unmarshal([]byte(`{"Secret":"hunter2"}`), &s); err != nil || s.Secret.Reveal() != "hunter2" {
		t.Errorf("from JSON: %q, %v", s.Secret.Reveal(), err)
	}
	if err := yaml.Unmarshal([]byte(`secret: hunter2`), &s); err != nil || s.Secret.Reveal() != "hunter2" {
		t.Errorf("from YAML: %q, %v", s.Secret.Reveal(), err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
