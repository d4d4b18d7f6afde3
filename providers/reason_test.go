package providers_test

import (
	"os"
	"regexp"
	"testing"

	"gatehouse/providers"
)

func TestEveryReasonIsExplainedOnce(t *testing.T) {
	seen := map[providers.Reason]bool{}
	for _, r := range providers.Reasons() {
		if seen[r.Code] || r.Meaning == "" || !regexp.MustCompile(`^[a-z_]+$`).MatchString(string(r.Code)) {
			t.Errorf("%+v", r)
		}
		seen[r.Code] = true
	}
	for _, code := range regexp.MustCompile(`Reason = "(.*)"`).FindAllStringSubmatch(string(must(os.ReadFile("reason.go"))), -1) {
		if !seen[providers.Reason(code[1])] {
			t.Errorf("%s is not explained", code[1])
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
