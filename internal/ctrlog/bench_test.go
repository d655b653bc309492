package ctrlog

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// lines80 is a MiB, about, of lines of 80 bytes.
func lines80() []byte {
	return bytes.Repeat(append(bytes.Repeat([]byte("0123456789"), 7), "abcdefghi\n"...), 1<<20/80)
}

// The directory is TMPDIR's: the figure is that of its file system, too.
func BenchmarkWrite(b *testing.B) {
	for _, driver := range []string{K8sFile, JSONFile} {
		b.Run(driver, func(b *testing.B) {
			w := open(b, Options{Driver: driver, MaxSize: 1 << 30})
			chunk := lines80()
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				_, _ = w.Stream(Stdout).Write(chunk)
			}
			must(b, w.Close())
		})
	}
}

// BenchmarkPipe is what a monitor does: large reads from a large pipe that
// somebody fills as fast as it goes.
func BenchmarkPipe(b *testing.B) {
	for _, driver := range []string{K8sFile, JSONFile} {
		b.Run(driver, func(b *testing.B) {
			w := open(b, Options{Driver: driver, MaxSize: 1 << 30})
			r, pw, err := os.Pipe()
			must(b, err)
			_, err = unix.FcntlInt(pw.Fd(), unix.F_SETPIPE_SZ, 1<<20)
			must(b, err)
			chunk := lines80()
			b.SetBytes(int64(len(chunk)))
			b.ResetTimer()
			go func() {
				for range b.N {
					_, _ = pw.Write(chunk)
				}
				pw.Close()
			}()
			buf := make([]byte, 1<<20)
			total := 0
			for {
				n, err := r.Read(buf)
				if err != nil {
					break
				}
				total += n
				_, _ = w.Stream(Stdout).Write(buf[:n])
			}
			must(b, w.Close())
			if total != b.N*len(chunk) {
				b.Errorf("%d bytes came of %d", total, b.N*len(chunk))
			}
		})
	}
}
