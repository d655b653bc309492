package engine

import "testing"

func TestSizeOption(t *testing.T) {
	for opts, want := range map[string]int64{"size=65536k": 64 << 20, "size=64m": 64 << 20, "size=1G": 1 << 30, "size=1234": 1234, "nosuid": 0, "size=": 0, "size=x": 0} {
		if got := sizeOption([]string{"mode=1777", opts}); got != want {
			t.Errorf("%s: %d, not %d", opts, got, want)
		}
	}
}

func TestDeviceOf(t *testing.T) {
	for in, want := range map[string]ContainerDevice{
		"/dev/fuse":              {"/dev/fuse", "/dev/fuse", "rwm"},
		"/dev/fuse:r":            {"/dev/fuse", "/dev/fuse", "r"},
		"/dev/fuse:/dev/other":   {"/dev/fuse", "/dev/other", "rwm"},
		"/dev/fuse:/dev/f:rw":    {"/dev/fuse", "/dev/f", "rw"},
		"/dev/a-b:/dev/c.d:mrw ": {"/dev/a-b", "/dev/c.d", "mrw "},
	} {
		if got := deviceOf(in); got != want {
			t.Errorf("%s: %+v", in, got)
		}
	}
}

func TestSignalName(t *testing.T) {
	for n, want := range map[int]string{0: "", 15: "SIGTERM", 9: "SIGKILL", 34: "SIGRTMIN+0", 37: "SIGRTMIN+3"} {
		if got := signalName(n); got != want {
			t.Errorf("%d: %q, not %q", n, got, want)
		}
	}
}
