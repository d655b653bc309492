package images

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Where the file system takes the hint, the directory of all layers and that
// of each have it, however the layer came; where it does not, that is no error.
func TestSpread(t *testing.T) {
	s := newStore(t)
	probe := t.TempDir()
	spread(probe)
	want := topDir(t, probe)
	var st unix.Statfs_t
	if err := unix.Statfs(probe, &st); err != nil || st.Type == unix.EXT4_SUPER_MAGIC && !want {
		t.Errorf("ext4 has not taken the hint: %v", err)
	}
	stage := newStage(t, s)
	m := make3(t, nil)
	img, err := s.Pull(t.Context(), "oci:"+m.layout(t), PullOptions{Class: class, Stage: stage.get})
	if err != nil {
		t.Fatal(err)
	}
	tar, err := os.Open(plainArchive(t))
	if err != nil {
		t.Fatal(err)
	}
	defer tar.Close()
	other, err := s.Import(t.Context(), tar, ImportOptions{Name: "x", Class: class, Stage: stage.get})
	if err != nil {
		t.Fatal(err)
	}
	dirs := []string{filepath.Join(s.root, "layers")}
	for _, chain := range append(img.ChainIDs, other.ChainIDs...) {
		dirs = append(dirs, filepath.Dir(filepath.Join(s.root, layerDir(chain, class))))
	}
	for _, d := range dirs {
		if got := topDir(t, d); got != want {
			t.Errorf("%s: %v, want %v", d, got, want)
		}
	}
}

func plainArchive(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.tar")
	write(t, path, tarOf(t, map[string]string{"a": "b"}))
	return path
}

func topDir(t *testing.T, dir string) bool {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	flags, err := unix.IoctlGetUint32(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	return err == nil && flags&fsTopDir != 0
}
