package seccomp

import (
	"runtime"
	"testing"
)

// BenchmarkDefault is what a start pays for its filter.
func BenchmarkDefault(b *testing.B) {
	b.Run("profile", func(b *testing.B) {
		for b.Loop() {
			if _, err := Default(dockerCaps, runtime.GOARCH); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("profile+compile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := Default(dockerCaps, runtime.GOARCH)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := Compile(p, runtime.GOARCH); err != nil {
				b.Fatal(err)
			}
		}
	})
}

var dockerCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}
