package configs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestReasons_NoneIsGivenTwice(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		code := string(r.Code)
		if seen[code] {
			t.Errorf("%s is listed twice", code)
		}
		seen[code] = true
		if r.Meaning == "" || !regexp.MustCompile(`^[a-z_]+$`).MatchString(code) {
			t.Errorf("%s has no meaning, or is not in snake case", code)
		}
	}
}

// Every reason is a constant, each constant is declared once, and each is documented.
func TestReasons_EveryReasonOfTheCodeIsListed(t *testing.T) {
	listed := map[string]bool{}
	for _, r := range Reasons() {
		listed[string(r.Code)] = true
	}
	declared := map[string]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "testdata" {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if !isReason(n.Type) {
					return true
				}
				for _, value := range n.Values {
					literal, ok := value.(*ast.BasicLit)
					if !ok {
						continue
					}
					code, _ := strconv.Unquote(literal.Value)
					if before := declared[code]; before != "" {
						t.Errorf("%s is declared in %s and in %s", code, before, path)
					}
					declared[code] = path
				}
			case *ast.CallExpr: // providers.Reason("...") would be a reason without a constant
				if len(n.Args) != 1 || !isReason(n.Fun) {
					return true
				}
				if literal, ok := n.Args[0].(*ast.BasicLit); ok {
					t.Errorf("%s converts %s to a reason: declare a constant", path, literal.Value)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for code, path := range declared {
		if !listed[code] {
			t.Errorf("%s of %s is not in the Reasons of its package", code, path)
		}
	}
	if len(declared) != len(listed) {
		t.Errorf("%d reasons are declared, %d listed", len(declared), len(listed))
	}
}

// isReason reports whether an expression is the type Reason or providers.Reason.
func isReason(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "Reason"
	case *ast.SelectorExpr:
		pkg, ok := e.X.(*ast.Ident)
		return ok && pkg.Name == "providers" && e.Sel.Name == "Reason"
	}
	return false
}
