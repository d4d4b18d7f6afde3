package configs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The list that is documented has the constants of package providers, each once, with a meaning.
func TestCodesAreAllConstants(t *testing.T) {
	file := parse(t, "../providers/problem.go")
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Code" || len(spec.Values) != 1 {
			t.Errorf("%s is not a Code with a value", spec.Names[0].Name)
			return true
		}
		text, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		declared = append(declared, text)
		return true
	})
	var documented []string
	for _, d := range Codes() {
		documented = append(documented, string(d.Code))
		if d.Meaning == "" || strings.ContainsAny(d.Meaning, "|\n") {
			t.Errorf("%s: %q does not fit into a table", d.Code, d.Meaning)
		}
	}
	slices.Sort(declared)
	slices.Sort(documented)
	if diff := cmp.Diff(declared, documented); diff != "" {
		t.Error(diff)
	}
}

// Every problem that the product can report has a code, and the code is one of the constants.
func TestEveryProblemHasACode(t *testing.T) {
	found := 0
	for _, folder := range []string{".", "../server", "../mcptools", "../providers"} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			ast.Inspect(parse(t, path), func(n ast.Node) bool {
				literal, ok := n.(*ast.CompositeLit)
				if !ok {
					return true
				}
				if isNamed(literal.Type, "Problems") {
					for _, each := range literal.Elts {
						found++
						checkProblem(t, path, each.(*ast.CompositeLit))
					}
				}
				if isNamed(literal.Type, "Problem") {
					found++
					checkProblem(t, path, literal)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 60 {
		t.Errorf("only %d problems were found", found)
	}
}

func checkProblem(t *testing.T, path string, literal *ast.CompositeLit) {
	t.Helper()
	fields := map[string]ast.Expr{}
	for _, e := range literal.Elts {
		pair, ok := e.(*ast.KeyValueExpr)
		if !ok {
			t.Errorf("%s: a problem without the names of its fields", path)
			return
		}
		fields[pair.Key.(*ast.Ident).Name] = pair.Value
	}
	for _, name := range []string{"Key", "Code", "Reason", "Fix"} {
		if fields[name] == nil {
			t.Errorf("%s: a problem without %s: %v", path, name, fields)
		}
	}
	switch code := fields["Code"].(type) {
	case *ast.SelectorExpr: // providers.CodeMissing, or the code of another problem
	case *ast.Ident:
		if code.Name != "code" { // a parameter of type providers.Code
			t.Errorf("%s: the code is %s", path, code.Name)
		}
	default:
		t.Errorf("%s: the code is not a constant of package providers", path)
	}
}

func isNamed(e ast.Expr, name string) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == name
	case *ast.SelectorExpr:
		return e.Sel.Name == name
	}
	return false
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
