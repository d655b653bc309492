package spec

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A container's clocks are what its configuration says, whoever its root is
// on the host.
func TestTimeOffsets(t *testing.T) {
	const years = 10 * 365 * 86400
	for name, root := range map[string]uint32{"the caller": uint32(os.Getuid()), "another": 100000} {
		t.Run(name, func(t *testing.T) {
			need(t, os.Geteuid() == 0 || int(root) == os.Getuid(), "root, to map an id that is not its own")
			dir := busyboxRoot(t)
			for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
				if err := os.Chmod(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			r, _ := testRuntime(t)
			o, out := boxOf(t, dir, "cat", "/proc/uptime")
			o.Config.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: root, Size: 1}}
			o.Config.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: root, Size: 1}}
			if int(root) == os.Getuid() {
				o.Config.Linux.GIDMappings[0].HostID = uint32(os.Getgid())
			}
			o.Config.Linux.Namespaces = append(o.Config.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			o.Config.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: years}}
			c, p, err := r.Run(t.Context(), "clock", o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Delete(t.Context(), true) //nolint:errcheck // it is over
			if ws, _, err := p.Wait(); err != nil || ws != 0 {
				t.Errorf("%v, %v", ws, err)
			}
			data, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			up, _, _ := strings.Cut(string(data), ".")
			if n, err := strconv.Atoi(up); err != nil || n < years {
				t.Errorf("up for %q seconds, want %d and more", data, years)
			}
		})
	}
}
