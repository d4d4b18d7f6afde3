package providers

import (
	"slices"
	"testing"
)

func TestMergeScopes_KeepsOrderAndArguments(t *testing.T) {
	backing := []string{"a", "b", "untouched"}
	first := backing[:2]
	got := MergeScopes(first, []string{"b", "c"}, nil, []string{"a", "c", "d"})
	if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if backing[2] != "untouched" {
		t.Errorf("the first list was overwritten: %v", backing)
	}
	if same := MergeScopes(first, []string{"a"}); &same[0] != &first[0] {
		t.Error("a list with nothing to add was copied")
	}
}
