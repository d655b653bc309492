package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"coracle/spec"
)

func TestParseVolumeOptions(t *testing.T) {
	for _, c := range []struct {
		opts map[string]string
		want volumeOpts
		err  string
	}{
		{nil, volumeOpts{}, ""},
		{map[string]string{"o": "uid=5,gid=6,nodev,ro"}, volumeOpts{uid: 5, gid: 6, owned: true, words: []string{"nodev", "ro"}}, ""},
		{map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,inodes=5,rw"}, volumeOpts{tmpfs: true, words: []string{"size=1m", "nr_inodes=5"}}, ""},
		{map[string]string{"type": "bind", "device": "/a/../b"}, volumeOpts{device: "/b"}, ""},
		{map[string]string{"type": "none", "device": "/b", "o": "bind,noexec"}, volumeOpts{device: "/b", words: []string{"noexec"}}, ""},
		{map[string]string{"type": "none", "device": "/b"}, volumeOpts{}, "says nothing by itself"},
		{map[string]string{"type": "none", "o": "bind"}, volumeOpts{}, "not an absolute path"},
		{map[string]string{"type": "bind", "device": "b"}, volumeOpts{}, "not an absolute path"},
		{map[string]string{"device": "/b"}, volumeOpts{}, "says nothing without a type"},
		{map[string]string{"type": "ext4", "device": "/dev/sda"}, volumeOpts{}, "only root"},
		{map[string]string{"o": "size=1m"}, volumeOpts{}, "only root may limit"},
		{map[string]string{"o": "uid=x"}, volumeOpts{}, "uid needs a number"},
		{map[string]string{"o": "bind"}, volumeOpts{}, "no such option"},
		{map[string]string{"type": "bind", "device": "/b", "o": "uid=1"}, volumeOpts{}, "no such option"},
		{map[string]string{"type": "tmpfs", "o": "size=lots"}, volumeOpts{}, "size=lots"},
		{map[string]string{"colour": "red"}, volumeOpts{}, "no such option"},
	} {
		got, err := parseVolumeOptions(c.opts)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: %v, not %q", c.opts, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got.words, c.want.words) || got.device != c.want.device || got.tmpfs != c.want.tmpfs ||
			got.owned != c.want.owned || got.uid != c.want.uid || got.gid != c.want.gid {
			t.Errorf("%v: %+v, %v, not %+v", c.opts, got, err, c.want)
		}
	}
}

func TestVolumeFilters(t *testing.T) {
	e := testEngine(t)
	ctx := context.Background()
	for _, o := range []VolumeOptions{
		{Name: "a", Labels: map[string]string{"k": "v", "x": ""}}, {Name: "ab", Options: map[string]string{"type": "tmpfs"}}, {Name: "c", anonymous: true},
	} {
		if _, err := e.CreateVolume(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	b := testBox(t, e, "user", false)
	if err := e.noteMounts(b.ID, []spec.Mounted{{Type: "volume", Name: "ab"}, {Type: "bind", Source: "/a"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ filters, want string }{
		{"", "a ab c"},
		{"name=a", "a ab"},
		{"name=^a$", "a"},
		{"name=^a$ name=c", "a c"},
		{"label=k", "a"},
		{"label=k=v label=x", "a"},
		{"label=k=w", ""},
		{"label!=k", "ab c"},
		{"opt=type=tmpfs", "ab"},
		{"driver=local", "a ab c"},
		{"driver=nfs", ""},
		{"scope=local name=c", "c"},
		{"anonymous=true", "c"},
		{"dangling=true", "a c"},
		{"dangling=0", "ab"},
		{"since=a", "ab c"},
		{"until=1h", ""},
		{"until=2100-01-01", "a ab c"},
	} {
		all, err := e.Volumes(strings.Fields(c.filters))
		var names []string
		for _, v := range all {
			names = append(names, v.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != c.want {
			t.Errorf("%q: %q, %v, not %q", c.filters, got, err, c.want)
		}
	}
	b.remove(ctx)
}

func TestParseUntil(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"1h30m": now.Add(-90 * time.Minute), "1000000000": time.Unix(1e9, 0), "1000000000.5": time.Unix(1e9, 5e8),
		"2026-11-26T10:00:00Z": now.Add(-2 * time.Hour), "2026-11-26T10:00:00+02:00": now.Add(-4 * time.Hour),
	} {
		if got, err := parseUntil(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, not %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "soon", "-1", "1e30", "26.11.2026"} {
		if got, err := parseUntil(s, now); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// A volume is there whole or not at all, whoever else makes and removes it.
func TestVolumeRaces(t *testing.T) {
	e := testEngine(t)
	ctx := context.Background()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 15 {
				_, err := e.CreateVolume(ctx, VolumeOptions{Name: "v", Ignore: i%2 == 0})
				if err != nil && !strings.Contains(err.Error(), "there is one of that name") {
					t.Errorf("create: %v", err)
				}
				if v, err := e.Volume("v"); err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && v.Driver != "local" {
					t.Errorf("inspect: %+v, %v", v, err)
				}
				if _, err := e.RemoveVolume(ctx, "v", false); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("remove: %v", err)
				}
			}
		})
	}
	all.Wait()
	for _, dir := range []string{"volumes", "locks"} {
		entries, _ := os.ReadDir(filepath.Join(e.root, dir))
		for _, d := range entries {
			if dir == "volumes" || strings.HasPrefix(d.Name(), "volume-") {
				t.Errorf("left: %s/%s", dir, d.Name())
			}
		}
	}
}

// Who has said that a container takes a volume keeps it from being removed,
// and the container's own end takes anonymous ones along.
func TestVolumeUsers(t *testing.T) {
	e := testEngine(t)
	ctx := context.Background()
	for _, o := range []VolumeOptions{{Name: "named"}, {Name: "shared", anonymous: true}, {Name: "own", anonymous: true}} {
		if _, err := e.CreateVolume(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	one, two := testBox(t, e, "one", false), testBox(t, e, "two", false)
	mounts := []spec.Mounted{
		{Type: "volume", Name: "named"}, {Type: "volume", Name: "shared", Anonymous: true}, {Type: "volume", Name: "own", Anonymous: true},
	}
	if err := errors.Join(e.noteMounts(one.ID, mounts), e.noteMounts(two.ID, mounts[:2])); err != nil {
		t.Fatal(err)
	}
	if _, err := e.RemoveVolume(ctx, "named", false); err == nil || !strings.Contains(err.Error(), "in use by") {
		t.Errorf("in use: %v", err)
	}
	if gone, err := e.PruneVolumes(ctx, nil); err != nil || len(gone) > 0 {
		t.Errorf("pruned %v, %v", gone, err)
	}
	one.remove(ctx)
	if names, _ := e.volumeNames(); !slices.Equal(names, []string{"named", "shared"}) {
		t.Errorf("after one container: %v", names)
	}
	two.remove(ctx)
	if names, _ := e.volumeNames(); !slices.Equal(names, []string{"named"}) {
		t.Errorf("after both: %v", names)
	}
	assertNothing(t, e)
}

// The sweep after a launcher that was killed: what it had made goes, also
// before there was a record.
func TestSweepVolumes(t *testing.T) {
	mounts := `[{"type":"volume","name":"anon","anonymous":true},{"type":"volume","name":"named"}]`
	for name, c := range map[string]struct {
		files map[string]string
		kept  string
	}{
		"no record":          {map[string]string{"containers/$ID/mounts.json": mounts}, "named"},
		"--rm":               {map[string]string{"containers/$ID/mounts.json": mounts, "containers/$ID/container.json": `{"id":"$ID","status":"running","remove":true}`}, "named"},
		"kept":               {map[string]string{"containers/$ID/mounts.json": mounts, "containers/$ID/container.json": `{"id":"$ID","status":"running"}`}, "anon named"},
		"half removed, --rm": {map[string]string{"containers/.dead-$ID/mounts.json": mounts, "containers/.dead-$ID/container.json": `{"id":"$ID","remove":true}`}, "named"},
	} {
		e := testEngine(t)
		ctx := context.Background()
		for _, o := range []VolumeOptions{{Name: "named"}, {Name: "anon", anonymous: true}} {
			if _, err := e.CreateVolume(ctx, o); err != nil {
				t.Fatal(err)
			}
		}
		id := newID()
		leave(t, e, id, c.files)
		lock, err := e.claim(id, "")
		if err != nil {
			t.Fatal(err)
		}
		lock.Close() // as if killed
		e.sweep(ctx)
		if names, _ := e.volumeNames(); strings.Join(names, " ") != c.kept {
			t.Errorf("%s: kept %v, not %s", name, names, c.kept)
		}
	}
}

// What was killed half way through filling a volume, at every point.
func TestSettle(t *testing.T) {
	files := func(dir string) string {
		var out []string
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if rel, _ := filepath.Rel(dir, p); rel != "." {
				data, _ := os.ReadFile(p)
				out = append(out, rel+"="+string(data))
			}
			return err
		})
		return strings.Join(out, " ")
	}
	for name, c := range map[string]struct {
		before []string
		want   string
	}{
		"nothing":             {[]string{"_data/a=1"}, "_data= _data/a=1"},
		"before it was whole": {[]string{"_data/", "copy.tmp/a=1"}, "_data= copy.tmp= copy.tmp/a=1"},
		"whole":               {[]string{"_data/", "copy/a=1", "copy/d/b=2"}, "_data= _data/a=1 _data/d= _data/d/b=2"},
		"one moved":           {[]string{"_data/a=1", "copy/d/b=2"}, "_data= _data/a=1 _data/d= _data/d/b=2"},
		"all moved":           {[]string{"_data/a=1", "copy/"}, "_data= _data/a=1"},
		"import":              {[]string{"_data/a=1", "_data/d/old=0", "import/fs/a=2", "import/fs/d/b=3"}, "_data= _data/a=2 _data/d= _data/d/b=3 _data/d/old=0"},
		"import, moved":       {[]string{"_data/a=2", "import/pending=x"}, "_data= _data/a=2"},
		"file for directory":  {[]string{"_data/x/y=1", "import/fs/x=2"}, "_data= _data/x=2"},
		"directory for file":  {[]string{"_data/x=1", "import/fs/x/y=2"}, "_data= _data/x= _data/x/y=2"},
	} {
		dir := t.TempDir()
		for _, f := range c.before {
			path, content, isFile := strings.Cut(f, "=")
			path = filepath.Join(dir, path)
			if !isFile {
				if err := os.MkdirAll(path, 0o700); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // done, it changes nothing any more
			vol, data, err := openVolume(volumeRequest{Volume: dir})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			vol.Close()
			data.Close()
			if got := files(dir); got != c.want {
				t.Errorf("%s: %s\nwant %s", name, got, c.want)
			}
		}
	}
}

func TestSecretFile(t *testing.T) {
	e := testEngine(t)
	ctx := context.Background()
	x, err := e.CreateSecret(ctx, SecretOptions{Name: "s", Data: strings.NewReader("data")})
	if err != nil || x.Data != nil || len(x.ID) != 25 {
		t.Fatalf("%+v, %v", x, err)
	}
	if st, err := os.Stat(e.secretFile("s")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := e.CreateSecret(ctx, SecretOptions{Name: "s", Data: strings.NewReader("other")}); err == nil {
		t.Error("made twice")
	}
	if _, err := e.CreateSecret(ctx, SecretOptions{Name: "s", Replace: true, Data: strings.NewReader("other")}); err != nil {
		t.Error(err)
	}
	if got, err := e.Secret("s", true); err != nil || string(got.Data) != "other" || got.ID == x.ID {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := e.Secret("s", false); err != nil || got.Data != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for _, size := range []int{0, maxSecret + 1} {
		if _, err := e.CreateSecret(ctx, SecretOptions{Name: "n", Data: strings.NewReader(strings.Repeat("x", size))}); err == nil {
			t.Errorf("%d bytes are taken", size)
		}
	}
	if got, err := e.secretData([]spec.SecretUse{{Name: "s", Target: "/run/secrets/s"}}); err != nil || string(got[0].Data) != "other" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := e.RemoveSecret(ctx, "s"); err != nil {
		t.Error(err)
	}
	if _, err := e.secretData([]spec.SecretUse{{Name: "s"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a secret that is gone: %v", err)
	}
}
