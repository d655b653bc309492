package review

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	s, _ := sandbox(t, "f a 644 one\nf gone 600 x\nl k old\nf d/x 644 x\nf m 644 same\nf bin 644 x",
		"f a 644 two\nf new 755 n\nw gone\nl k new\nw d\nf m 600 same\nf bin 644 x")
	check(t, os.WriteFile(filepath.Join(s.UpperDir(0), "bin"), []byte("a\x00b"), 0o600))
	check(t, os.WriteFile(filepath.Join(s.UpperDir(0), "esc"), []byte("\x1b[2Jx"), 0o600))
	var b strings.Builder
	for _, ch := range end(t, s) {
		check(t, s.Diff(&b, ch))
	}
	want := `diff --git a/a b/a
--- a/a
+++ b/a
@@ -1 +1 @@
-one
+two
diff --git a/bin b/bin
Binary files a/bin and b/bin differ
diff --git a/d b/d
deleted directory mode 040755
# with 1 file
diff --git a/esc b/esc
new file mode 100600
--- /dev/null
+++ b/esc
@@ -0,0 +1 @@
+\x1b[2Jx
\ No newline at end of file
diff --git a/gone b/gone
deleted file mode 100600
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/k b/k
--- a/k
+++ b/k
@@ -1 +1 @@
-old
\ No newline at end of file
+new
\ No newline at end of file
diff --git a/m b/m
old mode 100644
new mode 100600
diff --git a/new b/new
new file mode 100755
--- /dev/null
+++ b/new
@@ -0,0 +1 @@
+n
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// patch(1) makes the new text of the old one and our hunks.
func TestUnifiedIsPatched(t *testing.T) {
	patch, err := exec.LookPath("patch")
	if err != nil && os.Getenv("CORACLE_MUST_WORK") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip("no patch(1) here")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		dir := t.TempDir()
		a, b := randomLines(r), randomLines(r)
		var text strings.Builder
		text.WriteString("--- f\n+++ f\n")
		unified(&text, a, b)
		check(t, os.WriteFile(filepath.Join(dir, "f"), []byte(strings.Join(a, "")), 0o600))
		cmd := exec.Command(patch, "-s", "-F0", "f")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(text.String())
		if out, err := cmd.CombinedOutput(); err != nil && len(lineEdits(a, b)) > 0 {
			t.Fatalf("%v: %s\n%s", err, out, text.String())
		}
		got, err := os.ReadFile(filepath.Join(dir, "f"))
		if err != nil && len(b) > 0 { // an empty one is removed
			t.Fatal(err)
		}
		if string(got) != strings.Join(b, "") {
			t.Fatalf("got %q, want %q by\n%s", got, b, text.String())
		}
	}
}

func randomLines(r *rand.Rand) []string {
	var out []string
	for range r.IntN(40) {
		out = append(out, strings.Repeat("x", r.IntN(12))+"\n")
	}
	return out
}

// Whatever the lines are, the edits make one list of the other.
func FuzzLineEdits(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\n")
	f.Add("x\nx\n", "x\n")
	f.Fuzz(func(t *testing.T, x, y string) {
		a, b := splitLines([]byte(x)), splitLines([]byte(y))
		var got []string
		ai, bi := 0, 0
		for _, e := range lineEdits(a, b) {
			if e.a-ai != e.b-bi {
				t.Fatalf("%v of %q and %q", e, a, b)
			}
			got = append(got, a[ai:e.a]...)
			got = append(got, b[e.b:e.b+e.bn]...)
			ai, bi = e.a+e.an, e.b+e.bn
		}
		got = append(got, a[ai:]...)
		if strings.Join(got, "") != y {
			t.Errorf("%q of %q is %q", y, x, got)
		}
		var text strings.Builder
		unified(&text, a, b)
	})
}
