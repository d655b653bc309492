package registries

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestPutOff(t *testing.T) {
	for line, want := range map[string]bool{
		"coracle sandbox true":       true,
		"coracle sandbox":            false,
		"coracle run sandbox":        false,
		"coracle --log x sandbox -x": false,
	} {
		if got := sandbox(strings.Fields(line)); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
	if rest || inSandbox {
		t.Error("put off in a test")
	}
}

// TestReady holds that whoever uses the packages calls Ready first, in the same function.
func TestReady(t *testing.T) {
	later := map[string]bool{ // their callers have
		"(*registrySource).ask": true, "worthRetry": true, "explainRegistry": true, "explainStatus": true, "plainStatus": true,
		"checkStatus": true, "statusOf": true, "authenticator": true, "spellings": true,
		"(*uploading).send": true, "writeTable": true, "zstdLevel": true,
	}
	ready := 0
	for _, pattern := range []string{"../../../images/*.go", "../../../images/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			theirs := imported(file)
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Body == nil || !uses(f.Body, theirs) {
					continue
				}
				calls := uses(f.Body, map[string]bool{"registries": true})
				if calls {
					ready++
				}
				if calls == later[title(f)] {
					t.Errorf("%s: %s calls Ready: %v", name, title(f), calls)
				}
			}
		}
	}
	if ready < 10 {
		t.Errorf("%d functions call Ready", ready)
	}
}

// imported are the names that a file has for the packages that are put off, and for those
// that lead to them.
func imported(file *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, i := range file.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		if !strings.HasPrefix(path, "github.com/klauspost/compress") && !strings.HasPrefix(path, "github.com/google/go-containerregistry") {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = true
	}
	return names
}

func uses(n ast.Node, names map[string]bool) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Obj == nil && names[x.Name] {
				found = true
			}
		}
		return !found
	})
	return found
}

func title(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	star, ok := f.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return f.Name.Name
	}
	x, _ := star.X.(*ast.Ident)
	return "(*" + x.Name + ")." + f.Name.Name
}
