package inflate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"testing/iotest"
)

// samples have what matters to a decoder: matches near and far, long runs,
// data that cannot be compressed, codes of all lengths.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	random := make([]byte, 300_000)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	skewed := make([]byte, 500_000) // codes of up to 15 bits
	for i := range skewed {
		n := byte(0)
		for n < 40 && rnd.Uint32()&1 == 0 {
			n++
		}
		skewed[i] = n * 6
	}
	far := append(append(bytes.Clone(random[:32768]), random[:258]...), random[:32768]...)
	periods := []byte{}
	for period := 1; period < 20; period++ {
		for i := range 400 {
			periods = append(periods, random[i%period])
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"empty": {}, "one": {7}, "random": random, "skewed": skewed, "far": far, "periods": periods,
		"zeros": make([]byte, 1<<20), "text": bytes.Repeat([]byte("a layer of an image, and another one\n"), 20_000),
		"program": self[:min(len(self), 1<<20)],
	}
}

func pack(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(r io.Reader) ([]byte, error) {
	z, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func TestRoundTrip(t *testing.T) {
	for name, data := range samples(t) {
		for _, level := range []int{gzip.HuffmanOnly, gzip.NoCompression, gzip.BestSpeed, gzip.DefaultCompression, gzip.BestCompression} {
			z := pack(t, data, level)
			for how, r := range map[string]io.Reader{
				"whole": bytes.NewReader(z), "halves": iotest.HalfReader(bytes.NewReader(z)), "with its end": iotest.DataErrReader(bytes.NewReader(z)),
			} {
				if got, err := unpack(r); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, level %d, read %s: %d bytes of %d, %v", name, level, how, len(got), len(data), err)
				}
			}
		}
		small := data[:min(len(data), 20_000)]
		if got, err := unpack(iotest.OneByteReader(bytes.NewReader(pack(t, small, 6)))); err != nil || !bytes.Equal(got, small) {
			t.Errorf("%s, byte by byte: %v", name, err)
		}
	}
}

// What zlib makes is not what Go makes.
func TestOtherPackers(t *testing.T) {
	for name, data := range samples(t) {
		for _, level := range []string{"-1", "-9"} {
			cmd := exec.Command("gzip", "-c", level)
			cmd.Stdin = bytes.NewReader(data)
			z, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := unpack(bytes.NewReader(z)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, gzip %s: %d bytes of %d, %v", name, level, len(got), len(data), err)
			}
		}
	}
}

func TestMembers(t *testing.T) {
	s := samples(t)
	var z, want []byte
	for range 3 {
		for _, name := range []string{"text", "empty", "random", "one", "zeros"} {
			z = append(z, pack(t, s[name], 6)...)
			want = append(want, s[name]...)
		}
	}
	if got, err := unpack(bytes.NewReader(z)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	// No window reaches into the member before: the raw data of a second
	// member that refers to the first.
	one := pack(t, []byte("abcdefgh"), 6)
	bad := append(bytes.Clone(one), 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3)
	bad = append(bad, 0x03, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0) // fixed block, begins with a match
	if got, err := unpack(bytes.NewReader(bad)); !errors.Is(err, errTooFar) {
		t.Errorf("a match into another member: %q, %v", got, err)
	}
	if _, err := unpack(bytes.NewReader(append(bytes.Clone(one), "rubbish"...))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("rubbish after the end: %v", err)
	}
}

// Cut anywhere, it says so; with a bit turned it never gives other data
// without an error.
func TestDamaged(t *testing.T) {
	data := append(bytes.Repeat([]byte("some text, and "), 30), samples(t)["skewed"][:700]...)
	for _, level := range []int{0, 1, 9} {
		z := pack(t, data, level)
		for n := range z {
			if _, err := unpack(bytes.NewReader(z[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("level %d, cut to %d of %d bytes: %v", level, n, len(z), err)
			}
			for _, bit := range []int{n % 8, (n + 3) % 8} {
				bad := bytes.Clone(z)
				bad[n] ^= 1 << bit
				got, err := unpack(bytes.NewReader(bad))
				if err == nil && !bytes.Equal(got, data) {
					t.Fatalf("level %d: bit %d of byte %d: other data, no error", level, bit, n)
				}
				if _, want := theirs(bad); (err == nil) != (want == nil) {
					t.Errorf("level %d: bit %d of byte %d: %v, Go says %v", level, bit, n, err, want)
				}
			}
		}
	}
	broken := errors.New("broken")
	z := pack(t, samples(t)["random"], 6)
	if _, err := unpack(io.MultiReader(bytes.NewReader(z[:100_000]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
}

func theirs(z []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(z))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 16<<20))
}

// FuzzInflate: the same as Go's own on whatever comes, as gzip and, behind a
// good header, as blocks.
func FuzzInflate(f *testing.F) {
	for _, data := range [][]byte{nil, []byte("some text, and some text"), make([]byte, 3000)} {
		for _, level := range []int{0, 1, 9, gzip.HuffmanOnly} {
			f.Add(pack(f, data, level))
		}
	}
	f.Fuzz(func(t *testing.T, z []byte) {
		for _, in := range [][]byte{z, append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}, z...)} {
			got, err := unpackSome(in)
			want, werr := theirs(in)
			if (err == nil) != (werr == nil) || !bytes.HasPrefix(want, got) && !bytes.HasPrefix(got, want) {
				t.Fatalf("%x: %d bytes, %v; Go: %d bytes, %v", in, len(got), err, len(want), werr)
			}
			if err == nil && !bytes.Equal(got, want) {
				t.Fatalf("%x: other data", in)
			}
		}
	})
}

func unpackSome(z []byte) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(z))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 16<<20))
}

func BenchmarkInflate(b *testing.B) {
	name := os.Getenv("CORACLE_BENCH_GZIP")
	if name == "" {
		b.Skip("needs CORACLE_BENCH_GZIP=FILE")
	}
	z, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 256<<10)
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(z))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}
