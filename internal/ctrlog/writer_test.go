package ctrlog

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// at stops the clock for a test.
func at(t *testing.T, text string) {
	t.Helper()
	stopped, err := time.Parse(time.RFC3339Nano, text)
	must(t, err)
	old := now
	now = func() time.Time { return stopped }
	t.Cleanup(func() { now = old })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

func open(t testing.TB, o Options) *Writer {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "ctr.log")
	}
	w, err := Open(o)
	must(t, err)
	return w
}

// chunk is one Write.
type chunk struct {
	stream Stream
	bytes  string
}

func TestFormats(t *testing.T) {
	const k8s, js = "2026-01-02T03:04:05.123000000+01:00 ", `"time":"2026-01-02T02:04:05.123Z"}`
	long := strings.Repeat("x", maxRecord)
	tests := []struct {
		name   string
		driver string
		tag    string
		chunks []chunk
		want   []string
	}{
		{"lines", K8sFile, "", []chunk{{Stdout, "one\ntwo\n"}, {Stderr, "three\n"}}, []string{
			k8s + "stdout F one", k8s + "stdout F two", k8s + "stderr F three"}},
		{"unfinished", K8sFile, "", []chunk{{Stdout, "on"}, {Stdout, "e\n"}, {Stdout, "$ "}}, []string{
			k8s + "stdout P on", k8s + "stdout F e", k8s + "stdout P $ "}},
		{"empty line, NUL, no UTF-8", K8sFile, "", []chunk{{Stdout, "\na\x00\xff\r\n"}}, []string{
			k8s + "stdout F ", k8s + "stdout F a\x00\xff\r"}},
		{"long", K8sFile, "", []chunk{{Stdout, long + "y\n"}}, []string{
			k8s + "stdout P " + long, k8s + "stdout F y"}},
		{"exactly long", K8sFile, "", []chunk{{Stdout, long + "\n"}}, []string{
			k8s + "stdout F " + long}},

		{"lines", JSONFile, "", []chunk{{Stdout, "one\ntwo\n"}, {Stderr, "three\n"}}, []string{
			`{"log":"one\n","stream":"stdout",` + js, `{"log":"two\n","stream":"stdout",` + js, `{"log":"three\n","stream":"stderr",` + js}},
		{"carried", JSONFile, "", []chunk{{Stdout, "on"}, {Stderr, "x\n"}, {Stdout, "e\ntwo"}}, []string{
			`{"log":"x\n","stream":"stderr",` + js, `{"log":"one\n","stream":"stdout",` + js, `{"log":"two","stream":"stdout",` + js}},
		{"tag", JSONFile, `a"b`, []chunk{{Stdout, "one\n"}}, []string{
			`{"log":"one\n","stream":"stdout","attrs":{"tag":"a\"b"},` + js}},
		{"escapes", JSONFile, "", []chunk{{Stdout, "\"\\\t\r\x00\x7f<>&\xff\u2028é\n"}}, []string{
			`{"log":"\"\\\u0009\r\u0000` + "\x7f" + `\u003c\u003e\u0026\ufffd\u2028é\n","stream":"stdout",` + js}},
		{"long", JSONFile, "", []chunk{{Stdout, "ab"}, {Stdout, long + "\n"}}, []string{
			`{"log":"ab` + long[2:] + `","stream":"stdout",` + js, `{"log":"xx\n","stream":"stdout",` + js}},
		{"exactly long", JSONFile, "", []chunk{{Stdout, long + "\n"}}, []string{
			`{"log":"` + long + `\n","stream":"stdout",` + js}},
		{"a character across the limit", JSONFile, "", []chunk{{Stdout, long[1:] + "é\n"}}, []string{
			`{"log":"` + long[1:] + `","stream":"stdout",` + js, `{"log":"é\n","stream":"stdout",` + js}},
		{"a character across chunks", JSONFile, "", []chunk{{Stdout, "\xc3"}, {Stdout, "\xa9\n"}}, []string{
			`{"log":"é\n","stream":"stdout",` + js}},
	}
	for _, tt := range tests {
		t.Run(tt.driver+"/"+tt.name, func(t *testing.T) {
			at(t, "2026-01-02T03:04:05.123+01:00")
			path := filepath.Join(t.TempDir(), "ctr.log")
			w := open(t, Options{Driver: tt.driver, Path: path, Tag: tt.tag})
			for _, c := range tt.chunks {
				if n, err := w.Stream(c.stream).Write([]byte(c.bytes)); n != len(c.bytes) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			}
			must(t, w.Close())
			if got, want := content(t, path), strings.Join(tt.want, "\n")+"\n"; got != want {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
}

// What encoding/json makes of the text is the judge, but for tabs and the two
// controls that it has letters for.
func FuzzAppendJSON(f *testing.F) {
	f.Add([]byte("plain text and more of it"))
	f.Add([]byte("1234567\"12345678\\<>&\x00\x1f\x7f\x80é\u2028\u2029\xed\xa0\x80"))
	f.Fuzz(func(t *testing.T, p []byte) {
		want, err := json.Marshal(string(p))
		must(t, err)
		for short, long := range map[string]string{`\t`: `\u0009`, `\b`: `\u0008`, `\f`: `\u000c`} {
			parts := bytes.Split(want, []byte(`\\`))
			for i := range parts {
				parts[i] = bytes.ReplaceAll(parts[i], []byte(short), []byte(long))
			}
			want = bytes.Join(parts, []byte(`\\`))
		}
		if got := appendJSON([]byte{'"'}, p); !bytes.Equal(append(got, '"'), want) {
			t.Errorf("%q: got %s, want %s", p, got, want)
		}
	})
}
