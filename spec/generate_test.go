package spec

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write the golden files")

// fakeHost is a machine made of tables.
type fakeHost struct {
	env    []string
	files  map[string]string   // path -> content; a path ending in / is a directory
	nodes  map[string]FileInfo // devices
	cgroup bool
	limits map[string]uint64 // hard limits
}

func (h *fakeHost) Getenv() []string       { return h.env }
func (h *fakeHost) Getwd() (string, error) { return "/home/me/work", nil }
func (h *fakeHost) Hostname() string       { return "boathouse" }
func (h *fakeHost) CgroupV2() bool         { return h.cgroup }
func (h *fakeHost) Now() time.Time         { return time.Unix(1e9, 0) }

func (h *fakeHost) ReadFile(p string) ([]byte, error) {
	if data, ok := h.files[p]; ok {
		return []byte(data), nil
	}
	return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}

func (h *fakeHost) Lstat(p string) (FileInfo, error) {
	if n, ok := h.nodes[p]; ok {
		return n, nil
	}
	if _, ok := h.files[p]; ok {
		return FileInfo{Mode: 0o100644}, nil
	}
	if p == "/" || len(h.children(p)) > 0 {
		return FileInfo{Mode: modeDir | 0o755}, nil
	}
	return FileInfo{}, &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
}

func (h *fakeHost) Stat(p string) (FileInfo, error) { return h.Lstat(p) }

func (h *fakeHost) children(p string) (names []string) {
	prefix := strings.TrimSuffix(p, "/") + "/"
	add := func(q string) {
		rest, ok := strings.CutPrefix(q, prefix)
		if !ok {
			return
		}
		name, _, _ := strings.Cut(rest, "/")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for q := range h.files {
		add(q)
	}
	for q := range h.nodes {
		add(q)
	}
	return names
}

func (h *fakeHost) ReadDir(p string) ([]string, error) {
	names := slices.DeleteFunc(h.children(p), func(n string) bool { return n == "" })
	if len(names) == 0 {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	slices.Sort(names)
	return names, nil
}

func (h *fakeHost) Rlimit(name string) (soft, hard uint64, err error) {
	if n, ok := h.limits[name]; ok {
		return n / 2, n, nil
	}
	return 1024, 4096, nil
}

// fakeRoot is an image's files.
type fakeRoot map[string]string

func (r fakeRoot) ReadFile(name string) ([]byte, error) {
	if data, ok := r[path.Clean(name)]; ok {
		return []byte(data), nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// fakeSources has a few of everything.
type fakeSources struct{}

func (fakeSources) Volume(name string) (Volume, error) {
	switch name {
	case "gone":
		return Volume{}, bad("no volume %q can be made", name)
	case "mem":
		return Volume{Tmpfs: true, Options: []string{"size=1m", "nosuid"}}, nil
	case "quiet":
		return Volume{Source: "/mnt/elsewhere", Options: []string{"ro", "noexec"}}, nil
	}
	return Volume{Source: "/store/volumes/" + name + "/_data"}, nil
}

func (fakeSources) Mounts(container string) ([]Mounted, error) {
	if container != "other" {
		return nil, bad("no container %q", container)
	}
	return []Mounted{
		{Type: "bind", Source: "/srv/theirs", Destination: "/theirs", Options: []string{"rbind", "rprivate", "rw", "exec"}},
		{Type: "bind", Source: "/srv/theirs", Destination: "/taken", Options: []string{"rbind", "rprivate", "rw"}},
		{Type: "bind", Source: "/srv/cow", Destination: "/cow", Overlay: true},
		{Type: "volume", Name: "theirs", Source: "/store/volumes/theirs/_data", Destination: "/tv", Options: []string{"rbind", "rprivate", "ro", "rro"}, ReadOnly: true},
		{Type: "volume", Name: "mem", Destination: "/tm", Options: []string{"rprivate", "rw", "size=1m"}},
		{Type: "image", Name: "tools", Destination: "/ti"},
	}, nil
}

func (fakeSources) Image(name, subpath string) (ImageRoot, error) {
	switch name {
	case "tools":
		return ImageRoot{Overlay: []string{"userxattr", "lowerdir+=/store/2/" + subpath, "lowerdir+=/store/1/" + subpath}, ID: "sha256:ab"}, nil
	case "flat":
		return ImageRoot{Bind: "/store/a:b/fs", ID: "sha256:cd"}, nil
	}
	return ImageRoot{}, bad("no image %q", name)
}

func (fakeSources) Secret(name string) (string, error) {
	if name != "key" {
		return "", bad("no secret %q", name)
	}
	return "5ec2e7", nil
}

const imagePasswd = `root:x:0:0:root:/root:/bin/sh
broken line
nouid:x:::x:/:/bin/sh
alice:x:1000:1001:Alice:/home/alice:/bin/sh
1234:x:77:77::/numeric:/bin/sh
`

const imageGroup = `root:x:0:
wheel:x:10:alice,root
audio:x:29:alice
alice:x:1001:
broken
far:x:900000:alice
`

func char(mode uint32, gid, major, minor uint32) FileInfo {
	return FileInfo{Mode: modeChar | mode, GID: gid, Major: major, Minor: minor}
}

func testHost() *fakeHost {
	return &fakeHost{
		env:    []string{"HOME=/home/me", "SHELL=/bin/bash", "USER=me", "http_proxy=http://proxy:1", "LC_ALL=C", "LC_TIME=de", "SECRET=x"},
		cgroup: true,
		files: map[string]string{
			"/etc/hosts":                     "127.0.0.1 localhost\n10.0.0.1 nas\n",
			"/etc/resolv.conf":               "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n",
			"/etc/passwd":                    "root:x:0:0::/root:/bin/sh\nme:x:1000:1000:Me, Myself:/home/me:/bin/bash\nyou:x:1001:1001::/home/you:/bin/sh\n",
			"/etc/group":                     "root:x:0:\nus:x:1000:\n",
			"/proc/sys/kernel/cap_last_cap":  "40\n",
			"/proc/self/oom_score_adj":       "0\n",
			"/usr/share/zoneinfo/UTC":        "TZif2-utc",
			"/etc/localtime":                 "TZif2-local",
			"/usr/share/zoneinfo/zone.tab":   "no zone",
			"/home/me/work/data/":            "",
			"/home/me/":                      "",
			"/srv/a:b,c/":                    "",
			"/srv/lib/libx.so.1":             "",
			"/srv/lib/libx.so.2":             "",
			"/srv/lib/liby.so":               "",
			"/srv/lib/.libx.so.3":            "",
			"/dev/shm/":                      "",
			"/dev/mqueue/":                   "",
			"/usr/bin/tini":                  "",
			"/home/me/work/env":              "\ufeff# a comment\nA=1\n\n  B = no\n",
			"/home/me/work/good.env":         "# a comment\nA=from file\r\nLC_*\nUSER\nUNSET\nPATH=/bin\n",
			"/home/me/work/labels":           "a=1\n# no\nb=2=3\nc\n",
			"/home/me/work/seccomp.json":     `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`,
			"/home/me/work/bad-seccomp.json": `{`,
		},
		nodes: map[string]FileInfo{
			"/dev/null":          char(0o666, 0, 1, 3),
			"/dev/fuse":          char(0o666, 0, 10, 229),
			"/dev/kvm":           char(0o660, 108, 10, 232),
			"/dev/mem":           char(0o640, 15, 1, 1),
			"/dev/snd/timer":     char(0o660, 29, 116, 33),
			"/dev/snd/seq":       char(0o660, 29, 116, 1),
			"/dev/snd/by-path/x": {Mode: 0o120777},
			"/dev/console":       char(0o600, 5, 5, 1),
			"/dev/pts/0":         char(0o620, 5, 136, 0),
		},
		limits: map[string]uint64{"RLIMIT_NOFILE": 524288, "RLIMIT_CORE": ^uint64(0)},
	}
}

// input is a container of the default map with an ordinary image.
func input(change ...func(*Input)) Input {
	in := Input{
		ID:   strings.Repeat("0123456789abcdef", 4),
		Name: "brave_otter",
		Image: ImageConfig{
			Env:        []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"},
			Entrypoint: []string{"/entry"},
			Cmd:        []string{"cmd", "arg"},
			WorkingDir: "/srv",
			Labels:     map[string]string{"maintainer": "image", "org.opencontainers.image.title": "otter"},
		},
		Root:    fakeRoot{"/etc/passwd": imagePasswd, "/etc/group": imageGroup, "/bin/bash": "ELF"},
		Host:    testHost(),
		Sources: fakeSources{},
		ParseAddr: func(text string) (string, string, error) {
			a, err := netip.ParseAddr(text)
			return a.String(), a.Zone(), err
		},
		Arch:    "amd64",
		RootDir: "/store/containers/x/rootfs",
		Files:   "/store/containers/x/files",
		UIDMap:  []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}},
		GIDMap:  []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}},
		HostUID: 1000, HostGID: 1000, HostGroups: []uint32{1000, 29}, HostName: "me",
		Options: Options{Network: "none"},
	}
	for _, f := range change {
		f(&in)
	}
	return in
}

func with(f func(*Options)) func(*Input) { return func(in *Input) { f(&in.Options) } }

func keepID(in *Input) {
	in.KeepID, in.ContainerUID, in.ContainerGID = true, 1002, 1002
	in.UIDMap = []specs.LinuxIDMapping{
		{ContainerID: 0, HostID: 100000, Size: 1002}, {ContainerID: 1002, HostID: 1000, Size: 1}, {ContainerID: 1003, HostID: 101002, Size: 64534},
	}
	in.GIDMap = in.UIDMap
}

func singleID(in *Input) {
	in.SingleID = true
	in.UIDMap = in.UIDMap[:1]
	in.GIDMap = in.GIDMap[:1]
}

func ptr[T any](v T) *T { return &v }

// goldens are whole containers; testdata/golden/NAME.json is what they become.
func goldens() map[string]Input {
	return map[string]Input{
		"default":   input(),
		"no-map":    input(func(in *Input) { in.UIDMap, in.GIDMap = nil, nil }),
		"single-id": input(singleID),
		"keep-id":   input(keepID),
		"scratch":   input(func(in *Input) { in.Root = fakeRoot{}; in.Image = ImageConfig{Entrypoint: []string{"/app"}} }),
		"host": input(func(in *Input) {
			in.NoImage, in.Image = true, ImageConfig{}
			in.Host.(*fakeHost).cgroup = false
		}, singleID),
		"terminal-network-host": input(with(func(o *Options) {
			o.TTY, o.Interactive, o.Network = true, true, "host"
			o.AddHosts = []string{"db;cache:10.1.2.3", "six=[fd00::1]"}
			o.DNS, o.TZ = []string{"9.9.9.9"}, "UTC"
			o.Args = []string{"sh", "-c", "id"}
		})),
		"user": input(with(func(o *Options) {
			o.User, o.GroupAdd, o.CapAdd = "alice", []string{"audio", "55"}, []string{"net_admin"}
			o.Umask, o.Workdir, o.Hostname = "077", "/home/alice/../alice", "otter.example"
			o.Env, o.EnvFiles, o.UnsetEnv = []string{"X=1", "HOME=/x", "USER"}, []string{"good.env"}, []string{"LANG"}
		})),
		"read-only": input(with(func(o *Options) {
			o.ReadOnly, o.ShmSize, o.Tmpfs = true, "1g", []string{"/run:size=1.5m,mode=700", "/cache"}
		}), func(in *Input) { in.Image.Volumes = map[string]struct{}{"/data": {}, "/": {}, "/run": {}} }),
		"volumes": input(with(func(o *Options) {
			o.Volumes = []string{
				"./data:/a/b:ro,z,U", "/srv/lib:/a:slave,noexec,nosuid,nodev", "/srv/a:b,c/../lib:/never",
			}[:2]
			o.Volumes = append(o.Volumes, "/home/me:/home/me:O", "data/../data:/x"[:0]+"./data:/x:idmap", "./data:/etc/hosts:bind,ro")
			o.Mounts = []string{
				`type=bind,"source=/srv/a:b,c",target=/odd,readonly`, "type=glob,src=/srv/lib/libx*,dst=/opt/lib,ro",
				"type=tmpfs,dst=/t,tmpfs-size=4m,tmpfs-mode=700,notmpcopyup,chown", "type=devpts,dst=/other/pts,mode=600",
				"type=bind,src=data,dst=/w,bind-recursive=writable,ro",
			}
		}), func(in *Input) { in.Image.Volumes = map[string]struct{}{"/data": {}, "/x": {}} }),
		"volumes-named": input(with(func(o *Options) {
			o.Volumes = []string{"box:/a", "box:/b:ro,nocopy,Z", "/anon", "quiet:/q:U", "box:/o:O", "mem:/m", "/srv/lib:/taken"}
			o.Mounts = []string{
				"type=volume,src=box,dst=/mv,readonly,volume-nocopy", "type=volume,dst=/anon2", "dst=/anon3",
				"type=image,src=tools,dst=/tools", "type=image,src=tools,dst=/work,rw=true,subpath=/opt/../usr", "type=image,src=flat,dst=/flat",
				"type=image,src=flat,dst=/flatrw,readwrite=true",
			}
			o.VolumesFrom = []string{"other", "other:ro"}
			o.Secrets = []string{"key", "key,type=env,target=KEY", "key,target=sub/k,uid=5,gid=6,mode=0400", "source=key,target=/etc/k.pem"}
		}), func(in *Input) {
			in.Image.Volumes = map[string]struct{}{"/iv": {}, "/a": {}, "/theirs": {}, "/../up": {}}
		}),
		"image-volume-ignore": input(with(func(o *Options) { o.ImageVolume = "ignore" }),
			func(in *Input) { in.Image.Volumes = map[string]struct{}{"/iv": {}} }),
		"image-volume-tmpfs": input(with(func(o *Options) { o.ImageVolume = "tmpfs" }),
			func(in *Input) { in.Image.Volumes = map[string]struct{}{"/iv": {}} }),
		"privileged": input(with(func(o *Options) { o.Privileged, o.Network, o.Devices = true, "host", nil })),
		"devices":    input(with(func(o *Options) { o.Devices = []string{"/dev/fuse", "/dev/snd:/dev/sound", "/dev/kvm:rw"} })),
		"host-modes": input(with(func(o *Options) { o.PID, o.IPC, o.UTS, o.Network = "host", "host", "host", "host" })),
		"security": input(with(func(o *Options) {
			o.CapDrop, o.CapAdd = []string{"ALL"}, []string{"CAP_CHOWN", "kill"}
			o.SecurityOpt = []string{
				"no-new-privileges", "seccomp=unconfined", "label=disable", "apparmor=unconfined", "proc-opts=hidepid=2,subset=pid",
				"unmask=/proc/a*:/sys/fs/cgroup", "mask=/etc/secret:/proc/bus/pci",
			}
			o.Sysctl = []string{"net.ipv4.ip_forward=1", "kernel.shmmax=1000000", "kernel.domainname=example.org"}
		})),
		"limits-metadata": input(with(func(o *Options) {
			o.Ulimits, o.OOMScoreAdj = []string{"nofile=1024:2048", "core=-1", "nofile=-1:-1", "host"}, ptr(500)
			o.Labels, o.LabelFiles, o.Annotations = []string{"b=override", "d"}, []string{"labels"}, []string{"x=y", "maintainer=me"}
			o.StopSignal, o.StopTimeout, o.Expose = "rtmin+3", ptr(3), []string{"80", "5000-5010/udp"}
			o.Init = true
		})),
		"systemd": input(with(func(o *Options) {
			o.Args, o.StopSignal, o.Tmpfs = []string{"/lib/systemd/systemd", "--log-level=info"}, "", []string{"/tmp:size=1m"}
		}), func(in *Input) { in.Image.Entrypoint, in.Image.StopSignal = nil, "" }),
		"init-path": input(with(func(o *Options) { o.Init, o.InitPath = true, "/usr/bin/tini" })),
	}
}

// document is what a golden file holds.
type document struct {
	Spec   *specs.Spec
	Files  map[string]string
	Result Result
}

func TestGolden(t *testing.T) {
	for name, in := range goldens() {
		t.Run(name, func(t *testing.T) {
			res, err := Generate(in)
			if err != nil {
				t.Fatal(err)
			}
			// The profile is spec/seccomp's to test, and 10,000 lines long.
			if s := res.Spec.Linux.Seccomp; s != nil {
				res.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: s.DefaultAction, Architectures: s.Architectures}
			}
			doc := document{Spec: res.Spec, Files: make(map[string]string), Result: res}
			for name, data := range res.Files {
				doc.Files[name] = string(data)
			}
			doc.Result.Spec, doc.Result.Files = nil, nil
			compareGolden(t, filepath.Join("testdata", "golden", name+".json"), doc)
		})
	}
}

func compareGolden(t *testing.T, file string, doc document) {
	t.Helper()
	got, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (go test ./spec -run TestGolden -update, then read the difference)\n%s", file, firstDifference(string(want), string(got)))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, w[i], g[i])
		}
	}
	return "one is longer"
}

// A golden file that no case writes any more is a case that was lost.
func TestGoldenFilesAreUsed(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, f := range files {
		if _, ok := goldens()[strings.TrimSuffix(filepath.Base(f), ".json")]; !ok {
			t.Errorf("%s belongs to no case", f)
		}
	}
}

// Generate must not change its input, or a second container made of it would
// differ.
func TestGenerateIsPure(t *testing.T) {
	for name, in := range goldens() {
		before, _ := json.Marshal(in.Options)
		image, _ := json.Marshal(in.Image)
		a, errA := Generate(in)
		b, errB := Generate(in)
		if errA != nil || errB != nil {
			t.Fatal(name, errA, errB)
		}
		first, _ := json.Marshal(a)
		second, _ := json.Marshal(b)
		if string(first) != string(second) {
			t.Errorf("%s: two runs differ", name)
		}
		after, _ := json.Marshal(in.Options)
		imageAfter, _ := json.Marshal(in.Image)
		if string(before) != string(after) || string(image) != string(imageAfter) {
			t.Errorf("%s: the input was changed", name)
		}
	}
}

// refusal checks an error's text, its hint and its sentinel.
func refusal(t *testing.T, err error, text, hint string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", text)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("error %q\nwant  %q", err, text)
	}
	if !errors.Is(err, ErrOption) {
		t.Errorf("%v is no ErrOption", err)
	}
	var h interface{ Hint() string }
	if !errors.As(err, &h) || !strings.Contains(h.Hint(), hint) {
		t.Errorf("hint of %v lacks %q", err, hint)
	}
}
