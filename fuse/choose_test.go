package fuse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// good are the facts of Linux 6.18 on a local disk.
func good() Facts {
	return Facts{Overlay: true, LowerOnly: true, TmpfsUpper: true, LowerPlus: true, MaxLayers: 500, DataOnly: true,
		XinoOn: true, Volatile: true, Whiteout: true, HostLower: true}
}

func request() Request {
	return Request{LayersDir: "/s/layers", Lowers: []string{"/s/layers/b/c/fs", "/s/layers/a/c/fs"},
		Upper: "/s/c/upper", Work: "/s/c/work", Copy: "/s/c/copy"}
}

func params(r Rootfs) string {
	var b strings.Builder
	for _, p := range r.Params {
		b.WriteString(p.Key)
		if !p.Flag {
			b.WriteString("=" + p.Value)
		}
		b.WriteString(" ")
	}
	return strings.TrimSpace(b.String())
}

func TestChoose(t *testing.T) {
	found := func() (string, error) { return "/usr/bin/fuse-overlayfs", nil }
	missing := func() (string, error) { return "", &DriverError{Driver: DriverFuse, Reason: "not installed"} }
	for name, tt := range map[string]struct {
		request func(*Request)
		facts   func(*Facts)
		server  func() (string, error)
		want    string // of Params, Data, Argv
		err     string
	}{
		"fsconfig": {want: "userxattr lowerdir+=/s/layers/b/c/fs lowerdir+=/s/layers/a/c/fs upperdir=/s/c/upper workdir=/s/c/work"},
		"mount(2)": {facts: func(f *Facts) { f.LowerPlus = false }, want: "userxattr,lowerdir=b/c/fs:a/c/fs,upperdir=/s/c/upper,workdir=/s/c/work"},
		"odd names by fsconfig": {request: func(r *Request) { r.Lowers, r.Upper = []string{`/s/layers/a:b,c\d e`}, `/s/u\p:,` },
			want: `userxattr lowerdir+=/s/layers/a:b,c\d e upperdir=/s/u\\p:, workdir=/s/c/work`},
		"odd names by mount(2)": {request: func(r *Request) { r.Lowers, r.Upper = []string{`/s/layers/a:b,c\d e`, "/o,"}, `/s/u\p:,` },
			facts: func(f *Facts) { f.LowerPlus = false }, want: `userxattr,lowerdir=a\:b\,c\\d e:/o\,,upperdir=/s/u\\p:\,,workdir=/s/c/work`},
		"metadata tree": {request: func(r *Request) { r.Meta = "/s/layers/b/m/fs" },
			want: "userxattr lowerdir+=/s/layers/b/m/fs datadir+=/s/layers/b/c/fs datadir+=/s/layers/a/c/fs upperdir=/s/c/upper workdir=/s/c/work"},
		"metadata tree by mount(2)": {request: func(r *Request) { r.Meta = "/s/layers/b/m/fs" }, facts: func(f *Facts) { f.LowerPlus = false },
			want: "userxattr,lowerdir=b/m/fs::b/c/fs::a/c/fs,upperdir=/s/c/upper,workdir=/s/c/work"},
		"metadata tree on an old kernel": {request: func(r *Request) { r.Meta = "/m" }, facts: func(f *Facts) { f.DataOnly = false }, err: "translated ids"},
		"disposable on a tmpfs": {request: func(r *Request) { r.Scratch, r.Disposable = "/s/c", true },
			want: "userxattr xino=on lowerdir+=/s/layers/b/c/fs lowerdir+=/s/layers/a/c/fs upperdir=/s/c/upper workdir=/s/c/work scratch /s/c mode=0755"},
		"disposable on a disk": {request: func(r *Request) { r.Scratch, r.Disposable = "/s/c", true }, facts: func(f *Facts) { f.TmpfsUpper, f.IndexOn = false, true },
			want: "userxattr volatile index=on lowerdir+=/s/layers/b/c/fs lowerdir+=/s/layers/a/c/fs upperdir=/s/c/upper workdir=/s/c/work"},
		"kept, with an index that would tie it": {facts: func(f *Facts) { f.IndexOn = true },
			want: "userxattr lowerdir+=/s/layers/b/c/fs lowerdir+=/s/layers/a/c/fs upperdir=/s/c/upper workdir=/s/c/work"},
		"read-only": {request: func(r *Request) { r.Upper, r.Work = "", "" }, want: "userxattr lowerdir+=/s/layers/b/c/fs lowerdir+=/s/layers/a/c/fs"},
		"NFS":       {facts: func(f *Facts) { f.StoreFS = "NFS" }, want: "/usr/bin/fuse-overlayfs -f -o lowerdir=/s/layers/b/c/fs:/s/layers/a/c/fs,upperdir=/s/c/upper,workdir=/s/c/work /dev/fd/3"},
		"NFS and tmpfs": {facts: func(f *Facts) { f.StoreFS, f.Overlay = "NFS", false }, request: func(r *Request) { r.Scratch = "/s/c" },
			want: "userxattr xino=on lowerdir+=/s/layers/b/c/fs lowerdir+=/s/layers/a/c/fs upperdir=/s/c/upper workdir=/s/c/work scratch /s/c mode=0755"},
		"NFS, no FUSE":          {facts: func(f *Facts) { f.StoreFS = "NFS" }, server: missing, want: "copy /s/c/copy: the image is copied"},
		"NFS, overlay asked":    {facts: func(f *Facts) { f.StoreFS = "NFS" }, request: func(r *Request) { r.Driver = DriverOverlay }, err: "on NFS"},
		"overlay asked":         {facts: func(f *Facts) { f.Overlay, f.LowerOnly, f.OverlayWhy = false, false, "no" }, request: func(r *Request) { r.Driver = DriverOverlay }, err: "refuses it in a user namespace: no"},
		"fuse asked":            {request: func(r *Request) { r.Driver = DriverFuse }, want: "/usr/bin/fuse-overlayfs -f"},
		"fuse asked, not there": {request: func(r *Request) { r.Driver = DriverFuse }, server: missing, err: "not installed"},
		"fuse and a colon":      {request: func(r *Request) { r.Driver, r.Lowers = DriverFuse, []string{"/a:b"} }, err: "colon"},
		"fuse and moved ids":    {request: func(r *Request) { r.Driver, r.Meta = DriverFuse, "/m" }, err: "translated ids"},
	} {
		t.Run(name, func(t *testing.T) {
			r, f := request(), good()
			if tt.request != nil {
				tt.request(&r)
			}
			if tt.facts != nil {
				tt.facts(&f)
			}
			if tt.server == nil {
				tt.server = found
			}
			must(t, r.check())
			got, err := choose(r, f, tt.server)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !errors.Is(err, ErrUnsupported) {
					t.Fatalf("got %+v, %v; want an error with %q", got, err, tt.err)
				}
				return
			}
			must(t, err)
			text := params(got) + got.Data
			if got.Fuse != nil {
				text += strings.Join(got.Fuse.Argv, " ")
			}
			if got.Scratch != nil {
				text += " scratch " + got.Scratch.Target + " " + got.Scratch.Data
			}
			if got.Kind == Copy {
				text = "copy " + got.Source + ": " + got.Notice
			}
			if !strings.HasPrefix(text, tt.want) || tt.want == "" || got.Kind == OverlayFS && text != tt.want {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
}

func TestChooseRefuses(t *testing.T) {
	for name, r := range map[string]Request{
		"no layers":         {LayersDir: "/s"},
		"relative":          {LayersDir: "/s", Lowers: []string{"a"}},
		"half an upper":     {LayersDir: "/s", Lowers: []string{"/a"}, Upper: "/u"},
		"unknown driver":    {LayersDir: "/s", Lowers: []string{"/a"}, Driver: "vfs"},
		"upper outside":     {LayersDir: "/s", Lowers: []string{"/a"}, Upper: "/u", Work: "/w", Scratch: "/s"},
		"a name with a \\0": {LayersDir: "/s", Lowers: []string{"/a\x00b"}},
	} {
		if _, err := Choose(t.Context(), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	var hinted interface{ Hint() string }
	if _, err := Choose(t.Context(), Request{LayersDir: "/s", Lowers: []string{"/a"}, Driver: "vfs"}); !errors.As(err, &hinted) || hinted.Hint() == "" {
		t.Error("an unknown driver comes without a hint")
	}
}

// names of layers as the store makes them: 64 hex digits and a map class.
func manyLayers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("/s/layers/%064x/m-0123456789abcdef/fs", i)
	}
	return out
}

func TestManyLayers(t *testing.T) {
	old := good()
	old.LowerPlus = false
	for _, tt := range []struct {
		n     int
		facts Facts
		kind  Kind
		dir   string
		err   error
	}{
		{128, good(), OverlayFS, "", nil},
		{500, good(), OverlayFS, "", nil},
		{501, good(), "", "", ErrTooMany},
		{40, old, OverlayMount, "/s/layers", nil},
		{128, old, OverlayMount, "l", nil},
		{300, old, OverlayMount, "l", nil},
		{400, old, "", "", ErrTooMany},
	} {
		r := request()
		r.Cache, r.Lowers = t.TempDir(), manyLayers(tt.n)
		got, err := choose(r, tt.facts, nil)
		if !errors.Is(err, tt.err) || (tt.err != nil) != (err != nil) {
			t.Errorf("%d layers: %v", tt.n, err)
			continue
		}
		dir := tt.dir
		if dir == "l" {
			dir = filepath.Join(r.Cache, "l")
		}
		if err == nil && (got.Kind != tt.kind || got.Dir != dir || len(got.Data) > mountDataMax) {
			t.Errorf("%d layers: kind %s, dir %s, %d bytes", tt.n, got.Kind, got.Dir, len(got.Data))
		}
	}
	r := request()
	r.Lowers = manyLayers(128)
	if _, err := choose(r, old, nil); !errors.Is(err, ErrBadRequest) {
		t.Errorf("without a runtime directory: %v", err)
	}
}

func TestShortLinksCollide(t *testing.T) {
	dir := t.TempDir()
	first, err := shortLink(dir, "/a")
	must(t, err)
	again, err := shortLink(dir, "/a")
	must(t, err)
	if first != again {
		t.Errorf("one path has two names, %s and %s", first, again)
	}
	must(t, os.Remove(filepath.Join(dir, first)))
	must(t, os.Symlink("/b", filepath.Join(dir, first)))
	longer, err := shortLink(dir, "/a")
	must(t, err)
	if to, _ := os.Readlink(filepath.Join(dir, longer)); to != "/a" || longer == first {
		t.Errorf("%s leads to %s", longer, to)
	}
}
