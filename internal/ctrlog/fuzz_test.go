package ctrlog

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Whatever a file has: reading it ends, and the last lines are the end of all
// lines.
func FuzzRead(f *testing.F) {
	k8s := "2026-01-02T03:04:05.000000001+01:00 stdout F one\n2026-01-02T03:04:05Z stderr P tw\n2026-01-02T03:04:06Z stderr F o\n"
	js := `{"log":"one\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}` + "\n" + `{"log":"\ud83d\ude00\u2028","stream":"stderr","attrs":{"tag":"x"},"time":"2026-01-02T03:04:05Z"}` + "\n"
	f.Add([]byte(k8s), 1, false)
	f.Add([]byte(js), 2, true)
	f.Add([]byte("\n\x00 stdout F \n"), 0, false)
	f.Fuzz(func(t *testing.T, data []byte, tail int, isJSON bool) {
		driver := K8sFile
		if isJSON {
			driver = JSONFile
		}
		path := filepath.Join(t.TempDir(), "ctr.log")
		must(t, os.WriteFile(path, data, 0o600))
		read := func(o ReadOptions) string {
			var out bytes.Buffer
			must(t, Read(context.Background(), []Log{{Driver: driver, Path: path}}, o, &out, io.Discard))
			return out.String()
		}
		all := read(ReadOptions{Tail: -1})
		if last := read(ReadOptions{Tail: max(tail, 0)}); !strings.HasSuffix(all, last) {
			t.Errorf("tail %d gives %q, all is %q", tail, last, all)
		}
		if len(all) > 3*len(data) {
			t.Errorf("%d bytes came of %d", len(all), len(data))
		}
		_ = read(ReadOptions{Tail: -1, Timestamps: true, Since: time.Unix(0, 1)})
	})
}

// The reader without reflection and encoding/json understand one and the same.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`{"log":"one\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}`,
		`{"log":"\u0041\ud83d\ude00\ud83d\u0041\"\\\/\b\f\n\r\t` + "\xff\u2028" + `","stream":"stderr","time":"2026-01-02T03:04:05Z"}`,
		`{"log":"x","stream":"stdout","time":"2026-01-02T03:04:05Z"}}`,
		`{"log":"x","stream":"stdout","time":"2026-01-02T03:04:05Z","time":"2027-01-02T03:04:05Z"}`,
		`{"log":"x","stream":"stdout","time":"2026-01-02T03:04` + "\x00" + `05Z"}`,
		`{"log":"x","stream":"stdout","time":"2026-01-02T03:04` + "\xff" + `05Z"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		d := newDecoder(JSONFile)
		got, ok := d.parseOwn(line)
		if !ok {
			return
		}
		var want struct{ Log, Stream, Time string }
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q is taken; encoding/json says %v", line, err)
		}
		text := string(got.text)
		if got.full {
			text += "\n"
		}
		// Whether a stamp is a time is asked when it is needed.
		if text != want.Log || got.stream.String() != want.Stream || string(got.stamp) != want.Time {
			t.Errorf("%q: got %q %s %q, want %q", line, text, got.stream, got.stamp, want)
		}
	})
}

// No payload, cut in any way, can make a record that it did not say.
func FuzzWrite(f *testing.F) {
	f.Add([]byte("one\ntwo"), uint64(1), false, false)
	f.Add([]byte("2026-01-02T03:04:05Z stdout F forged\n\x00\xff\n\n"), uint64(2), true, true)
	f.Fuzz(func(t *testing.T, p []byte, seed uint64, isJSON, rotate bool) {
		o := Options{Driver: K8sFile, Path: filepath.Join(t.TempDir(), "ctr.log")}
		if isJSON {
			o.Driver = JSONFile
			p = bytes.ToValidUTF8(p, []byte("?"))
		}
		if rotate {
			o.MaxSize, o.MaxFile = 500, maxFiles
		}
		w := open(t, o)
		r := rand.New(rand.NewPCG(seed, 0))
		for rest := p; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			_, _ = w.Stream(Stderr).Write(rest[:n])
			rest = rest[n:]
		}
		must(t, w.Close())
		if out, errw := readLog(t, o.Driver, o.Path, ReadOptions{Tail: -1}); out != "" || errw != string(p) {
			t.Errorf("said %q, read %q and %q", p, errw, out)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-01-02T03:04:05.5Z")
	f.Add("-1.5")
	f.Add("10m")
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = ParseTime(s, time.Unix(0, 0), true)
		_, _ = ParseOptions(K8sFile, []string{"max-size=" + s, "path=/" + s})
	})
}
