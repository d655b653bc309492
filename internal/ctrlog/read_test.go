package ctrlog

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// readLog reads one log and fails on lines that are none.
func readLog(t testing.TB, driver, path string, o ReadOptions) (out, errw string) {
	t.Helper()
	var a, b bytes.Buffer
	o.Warn = func(s string) { t.Error(s) }
	must(t, Read(context.Background(), []Log{{Driver: driver, Path: path}}, o, &a, &b))
	return a.String(), b.String()
}

// noise is what a payload might say: lines of all lengths, forged records, NULs
// and what is not UTF-8, cut into chunks anywhere.
func noise(r *rand.Rand, utf8Only bool) []byte {
	var b []byte
	for range r.IntN(30) {
		switch r.IntN(7) {
		case 0:
			b = append(b, bytes.Repeat([]byte{'x'}, r.IntN(3*maxRecord))...)
		case 1:
			b = append(b, "2026-01-02T03:04:05.123000000+01:00 stdout F forged\n"...)
		case 2:
			b = append(b, `{"log":"forged\n","stream":"stdout","time":"2026-01-02T02:04:05.123Z"}`+"\n"...)
		case 3:
			b = append(b, "\n\n\x00\r\n\x1b[31m\"\\ é\u2028</&>"...)
		case 4:
			if !utf8Only {
				b = append(b, 0xff, 0xc3, byte(r.IntN(256)))
			}
		case 5:
			b = append(b, strings.Repeat("日本", r.IntN(maxRecord))...)
		default:
			b = append(b, "short\n"...)
		}
	}
	return b
}

// What was said comes back to the byte, however it was cut.
func TestRoundTrip(t *testing.T) {
	for _, driver := range []string{K8sFile, JSONFile} {
		for seed := range uint64(40) {
			r := rand.New(rand.NewPCG(seed, 1))
			path := filepath.Join(t.TempDir(), "ctr.log")
			o := Options{Driver: driver, Path: path, Tag: []string{"", "t"}[seed%2]}
			if seed%3 == 0 {
				o.MaxSize, o.MaxFile = 30_000+r.Int64N(100_000), maxFiles
			}
			w := open(t, o)
			var said [2][]byte
			for i := range said {
				said[i] = noise(r, driver == JSONFile)
			}
			for rest := said; len(rest[0])+len(rest[1]) > 0; {
				s := r.IntN(2)
				n := min(len(rest[s]), 1+r.IntN(1<<r.IntN(18)))
				_, _ = w.Stream(Stream(s)).Write(rest[s][:n])
				rest[s] = rest[s][n:]
			}
			must(t, w.Close())
			out, errw := readLog(t, driver, path, ReadOptions{Tail: -1})
			if out != string(said[0]) || errw != string(said[1]) {
				t.Errorf("%s, seed %d: %d and %d bytes came back of %d and %d", driver, seed, len(out), len(errw), len(said[0]), len(said[1]))
			}
			checkSizes(t, path, o)
		}
	}
}

func checkSizes(t *testing.T, path string, o Options) {
	t.Helper()
	for n := 0; ; n++ {
		st, err := os.Stat(rotated(path, n))
		if err != nil {
			return
		}
		if o.MaxSize > 0 && st.Size() > o.MaxSize && st.Size() > 6*maxRecord+200 {
			t.Errorf("%s has %d bytes, more than %d", rotated(path, n), st.Size(), o.MaxSize)
		}
	}
}

func TestTail(t *testing.T) {
	for _, driver := range []string{K8sFile, JSONFile} {
		path := filepath.Join(t.TempDir(), "ctr.log")
		w := open(t, Options{Driver: driver, Path: path, MaxSize: 150_000, MaxFile: 50})
		var lines []string
		for i := range 400 {
			line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("y", []int{0, 10, 5000, 40_000}[i%4]*(i%3)/2))
			lines = append(lines, line)
			for rest := line; rest != ""; {
				n := min(len(rest), 30_000)
				_, _ = w.Stream(Stdout).Write([]byte(rest[:n]))
				rest = rest[n:]
			}
		}
		_, _ = w.Stream(Stdout).Write([]byte("prompt> "))
		must(t, w.Close())
		lines = append(lines, "prompt> ")
		if _, err := os.Stat(path + ".5"); err != nil {
			t.Fatal("the test did not rotate: ", err)
		}
		for _, n := range []int{0, 1, 2, 3, 7, 50, 400, 401, 402, 100_000} {
			want := strings.Join(lines[max(0, len(lines)-n):], "")
			if out, _ := readLog(t, driver, path, ReadOptions{Tail: n}); out != want {
				t.Errorf("%s: tail %d gives %d bytes beginning %.20q, want %d beginning %.20q", driver, n, len(out), out, len(want), want)
			}
		}
	}
}

// Lines of both streams count, and pieces of one are not torn off, however the
// other came in between and whatever file they are in.
func TestTailOfTwoStreams(t *testing.T) {
	for _, tt := range []struct {
		n         int
		chunks    []chunk
		out, errw string
	}{
		{2, []chunk{{Stdout, "a1\n"}, {Stdout, "a2 "}, {Stderr, "b1\n"}, {Stdout, "still a2\n"}}, "a2 still a2\n", "b1\n"},
		{1, []chunk{{Stdout, "a1\n"}, {Stdout, "a2 "}, {Stderr, "b1\n"}, {Stdout, "still a2\n"}}, "a2 still a2\n", ""},
		{1, []chunk{{Stdout, "a1\n"}, {Stdout, "a2 "}, {Stderr, "b1 "}, {Stderr, "b1\n"}, {Stdout, "still "}, {Stderr, "b2\n"}, {Stdout, "a2\n"}}, "a2 still a2\n", ""},
		{2, []chunk{{Stdout, "a1\n"}, {Stdout, "a2 "}, {Stderr, "b1\n"}, {Stdout, "end\n"}, {Stdout, "prompt"}}, "a2 end\nprompt", ""},
		{0, []chunk{{Stdout, "a1"}, {Stderr, "b1"}}, "", ""},
		{1, []chunk{{Stdout, "a1"}, {Stderr, "b1"}}, "", "b1"},
		{2, []chunk{{Stdout, "a1"}, {Stderr, "b1"}}, "a1", "b1"},
	} {
		for _, size := range []int64{0, 60} { // 60: a file for each record
			path := filepath.Join(t.TempDir(), "ctr.log")
			w := open(t, Options{Path: path, MaxSize: size, MaxFile: 50})
			for _, c := range tt.chunks {
				_, _ = w.Stream(c.stream).Write([]byte(c.bytes))
			}
			must(t, w.Close())
			if out, errw := readLog(t, K8sFile, path, ReadOptions{Tail: tt.n}); out != tt.out || errw != tt.errw {
				t.Errorf("%v: tail %d: %q and %q", tt.chunks, tt.n, out, errw)
			}
		}
	}
}

func TestSinceUntil(t *testing.T) {
	for _, driver := range []string{K8sFile, JSONFile} {
		path := filepath.Join(t.TempDir(), "ctr.log")
		w := open(t, Options{Driver: driver, Path: path})
		for i := range 5 {
			at(t, fmt.Sprintf("2026-01-02T03:04:0%d.5Z", i))
			_, _ = fmt.Fprintf(w.Stream(Stdout), "%d\n", i)
		}
		must(t, w.Close())
		sec := func(s string) time.Time {
			when, err := ParseTime("2026-01-02T03:04:0"+s+"Z", time.Time{}, true)
			must(t, err)
			return when
		}
		for _, tt := range []struct {
			o    ReadOptions
			want string
		}{
			{ReadOptions{Tail: -1}, "0\n1\n2\n3\n4\n"},
			{ReadOptions{Tail: -1, Since: sec("2")}, "2\n3\n4\n"},
			{ReadOptions{Tail: -1, Since: sec("2.5")}, "2\n3\n4\n"},
			{ReadOptions{Tail: -1, Until: sec("2.5")}, "0\n1\n2\n"},
			{ReadOptions{Tail: -1, Since: sec("1"), Until: sec("3")}, "1\n2\n"},
			{ReadOptions{Tail: 2, Since: sec("1")}, "3\n4\n"},
			{ReadOptions{Tail: 2, Until: sec("3")}, ""},
			{ReadOptions{Tail: 1, Timestamps: true}, "2026-01-02T03:04:04.500000000Z 4\n"},
		} {
			if out, _ := readLog(t, driver, path, tt.o); out != tt.want {
				t.Errorf("%s %+v: got %q, want %q", driver, tt.o, out, tt.want)
			}
		}
	}
}

func TestSeveral(t *testing.T) {
	dir := t.TempDir()
	var logs []Log
	writers := map[string]*Writer{}
	for _, name := range []string{"a", "b"} {
		path := filepath.Join(dir, name)
		writers[name] = open(t, Options{Path: path})
		logs = append(logs, Log{Driver: K8sFile, Path: path, Prefix: name + " "})
	}
	for i, c := range []struct{ name, text string }{
		{"a", "one\n"}, {"b", "two\n"}, {"a", "thr"}, {"b", "four\n"}, {"a", "ee\nfive\n"}, {"b", "$ "},
	} {
		at(t, fmt.Sprintf("2026-01-02T03:04:0%dZ", i))
		_, _ = writers[c.name].Stream(Stdout).Write([]byte(c.text))
	}
	var out bytes.Buffer
	must(t, Read(context.Background(), logs, ReadOptions{Tail: -1}, &out, &out))
	if want := "a one\nb two\nb four\na three\na five\nb $ \n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestPrefixAndColor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctr.log")
	w := open(t, Options{Path: path})
	_, _ = w.Stream(Stdout).Write([]byte("on"))
	_, _ = w.Stream(Stdout).Write([]byte("e\ntwo"))
	must(t, w.Close())
	var out bytes.Buffer
	l := Log{Driver: K8sFile, Path: path, Prefix: "c ", Color: "\x1b[31m"}
	must(t, Read(context.Background(), []Log{l}, ReadOptions{Tail: -1}, &out, &out))
	if want := "\x1b[31mc one\x1b[0m\n\x1b[31mc two\x1b[0m"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// Lines that are no records are left out, and said.
func TestForeignLines(t *testing.T) {
	for driver, good := range map[string]string{
		K8sFile:  "2026-01-02T03:04:05Z stdout F:x good\n",
		JSONFile: `{"time": "2026-01-02T03:04:05Z", "stream": "stdout", "attrs": {"a": "b"}, "log": "g\u006fod\n"}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), "ctr.log")
		bad := []string{"", "x", "2026-01-02T03:04:05Z stdin F x", "2026-01-02T03:04:05Z stdout Q x", "{}", `{"log":"`, `{"log":"x\n","stream":"stdout","time":"now"}`, strings.Repeat("z", 3*maxLine)}
		must(t, os.WriteFile(path, []byte(good+strings.Join(bad, "\n")+"\n"+good+"2026-01-02T03:04:05Z stdo"), 0o600))
		for tail, want := range map[int]string{-1: "good\ngood\n", 2: "good\ngood\n", 1: "good\n"} {
			var out bytes.Buffer
			var warned string
			o := ReadOptions{Tail: tail, Warn: func(s string) { warned = s }}
			must(t, Read(context.Background(), []Log{{Driver: driver, Path: path}}, o, &out, &out))
			if out.String() != want {
				t.Errorf("%s tail %d: %q", driver, tail, out.String())
			}
			if count := fmt.Sprintf(": %d lines", len(bad)); tail != 1 && !strings.Contains(warned, count) {
				t.Errorf("%s tail %d: the warning is %q", driver, tail, warned)
			}
		}
	}
}

func TestNoLog(t *testing.T) {
	if out, errw := readLog(t, K8sFile, filepath.Join(t.TempDir(), "none"), ReadOptions{Tail: -1}); out+errw != "" {
		t.Errorf("%q %q", out, errw)
	}
}

func TestParseTime(t *testing.T) {
	base := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-01-02T03:04:05Z":                base,
		"2026-01-02T04:04:05.000000001+01:00": base.Add(1),
		"2026-01-02":                          time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
		"2026-01-02T03:04":                    time.Date(2026, 1, 2, 3, 4, 0, 0, time.Local),
		"1767323045":                          base,
		"1767323045.000000001":                base.Add(1),
		"1767323045.5":                        base.Add(500 * time.Millisecond),
		"90s":                                 base.Add(-90 * time.Second),
		"1h30m":                               base.Add(-90 * time.Minute),
	} {
		if got, err := ParseTime(text, base, true); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	if got, err := ParseTime("10m", base, false); err != nil || !got.Equal(base.Add(10*time.Minute)) {
		t.Errorf("until 10m: %v, %v", got, err)
	}
	for _, text := range []string{"", "yesterday", "2026-13-01", "1.x", "99999999999999"} {
		if got, err := ParseTime(text, base, true); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
