package spec

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "64m": 64 << 20, "64M": 64 << 20, "1g": 1 << 30, "1gb": 1 << 30, "1GiB": 1 << 30, "1.5k": 1536, "10 MB": 10 << 20, "2b": 2, "1t": 1 << 40,
	} {
		if got, err := ParseBytes(s); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "m", "-1", "1e3", "0x10", "inf", "nan", "1.2.3", "1q", "1mm", "1bi", "9999999999999999999t", "+1"} {
		if n, err := ParseBytes(s); err == nil {
			t.Errorf("%q: %d, want an error", s, n)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]int{
		"TERM": 15, "sigterm": 15, "SIGKILL": 9, "9": 9, "HUP": 1, "SYS": 31, "PWR": 30, "IOT": 6, "POLL": 29,
		"RTMIN": 34, "SIGRTMIN+3": 37, "rtmax": 64, "RTMAX-14": 50, "64": 64, "WINCH": 28, "CHLD": 17, "STOP": 19,
	} {
		if got, err := ParseSignal(s); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "65", "TERMS", "RTMIN-1", "RTMAX+1", "RTMIN+31", "RTMIN+", "RTMIN+x", "SIG"} {
		if n, err := ParseSignal(s); err == nil {
			t.Errorf("%q: %d, want an error", s, n)
		}
	}
}

func TestResolveUser(t *testing.T) {
	for s, want := range map[string]execUser{
		"":            {name: "root", home: "/root", known: true, groups: []uint32{10}},
		"root":        {name: "root", home: "/root", known: true, groups: []uint32{10}},
		"alice":       {uid: 1000, gid: 1001, name: "alice", home: "/home/alice", known: true, groups: []uint32{10, 29, 900000}},
		"1000":        {uid: 1000, gid: 1001, name: "alice", home: "/home/alice", known: true, groups: []uint32{10, 29, 900000}},
		"alice:wheel": {uid: 1000, gid: 10, name: "alice", home: "/home/alice", known: true},
		"alice:7":     {uid: 1000, gid: 7, name: "alice", home: "/home/alice", known: true},
		"5":           {uid: 5, home: "/"},
		"5:audio":     {uid: 5, gid: 29, home: "/"},
		"5:6":         {uid: 5, gid: 6, home: "/"},
		":6":          {gid: 6, name: "root", home: "/root", known: true},
		// A name that looks like a number is found before the number itself.
		"1234": {uid: 77, gid: 77, name: "1234", home: "/numeric", known: true},
	} {
		got, err := resolveUser(s, []byte(imagePasswd), []byte(imageGroup))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v\nwant %+v", s, got, err, want)
		}
	}
	// Lines without ids must not become root.
	for _, s := range []string{"nouid", "broken line", "+", "alice:broken", "a b", "1:2:3"} {
		if got, err := resolveUser(s, []byte(imagePasswd+"+nis::0:0:::\n-x::0:0::/:\n"), []byte(imageGroup)); err == nil {
			t.Errorf("%q: %+v, want an error", s, got)
		}
	}
}

func TestArgs(t *testing.T) {
	image := ImageConfig{Entrypoint: []string{"/e", "-x"}, Cmd: []string{"c"}}
	for _, c := range []struct {
		name       string
		image      ImageConfig
		entrypoint *string
		args, want []string
	}{
		{"image's own", image, nil, nil, []string{"/e", "-x", "c"}},
		{"arguments replace Cmd", image, nil, []string{"a", "b"}, []string{"/e", "-x", "a", "b"}},
		{"entrypoint drops Cmd", image, ptr("/new"), nil, []string{"/new"}},
		{"entrypoint is one word", image, ptr("/new thing"), []string{"a"}, []string{"/new thing", "a"}},
		{"JSON", image, ptr(`["/new","-y"]`), []string{"a"}, []string{"/new", "-y", "a"}},
		{"empty JSON", image, ptr(`[]`), []string{"a"}, []string{"a"}},
		{"not quite JSON", image, ptr(`[x`), nil, []string{"[x"}},
		{"cleared", image, ptr(""), []string{"a"}, []string{"a"}},
		{"Cmd alone", ImageConfig{Cmd: []string{"c"}}, nil, nil, []string{"c"}},
	} {
		res, err := Generate(input(func(in *Input) {
			in.Image, in.Options.Entrypoint, in.Options.Args = c.image, c.entrypoint, c.args
		}))
		if err != nil || !slices.Equal(res.Spec.Process.Args, c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestDefaultCommandWithoutImage(t *testing.T) {
	for _, c := range []struct{ shell, want string }{
		{"/bin/bash", "/bin/bash"}, {"/usr/bin/fish", "/bin/sh"}, {"bash", "/bin/sh"}, {"", "/bin/sh"},
	} {
		res, err := Generate(input(func(in *Input) {
			in.NoImage, in.Image = true, ImageConfig{}
			in.Host.(*fakeHost).env = []string{"SHELL=" + c.shell}
		}))
		if err != nil || !slices.Equal(res.Spec.Process.Args, []string{c.want}) {
			t.Errorf("SHELL=%s: %v", c.shell, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	defaults := "PATH=/usr/bin:/bin container=coracle LANG=C.UTF-8 HOSTNAME=0123456789ab HOME=/root"
	for _, c := range []struct {
		name string
		set  func(*Options)
		want string
	}{
		{"defaults", func(*Options) {}, defaults},
		{"terminal", func(o *Options) { o.TTY = true }, "PATH=/usr/bin:/bin TERM=xterm container=coracle LANG=C.UTF-8 HOSTNAME=0123456789ab HOME=/root"},
		{"from the host", func(o *Options) { o.Env = []string{"USER", "NOPE"} }, strings.Replace(defaults, " HOSTNAME", " USER=me HOSTNAME", 1)},
		{"globbing", func(o *Options) { o.Env = []string{"LC_*"} }, strings.Replace(defaults, " HOSTNAME", " LC_ALL=C LC_TIME=de HOSTNAME", 1)},
		{"a value with =", func(o *Options) { o.Env = []string{"A=b=c", "B="} }, strings.Replace(defaults, " HOSTNAME", " A=b=c B= HOSTNAME", 1)},
		{"last one wins", func(o *Options) { o.Env = []string{"A=1", "A=2", "HOME=/h"} }, "PATH=/usr/bin:/bin container=coracle LANG=C.UTF-8 A=2 HOME=/h HOSTNAME=0123456789ab"},
		{"host below image", func(o *Options) { o.EnvHost = true; o.UnsetEnv = []string{"SECRET", "LC_ALL", "LC_TIME", "http_proxy"} },
			"PATH=/usr/bin:/bin container=coracle HOME=/home/me SHELL=/bin/bash USER=me LANG=C.UTF-8 HOSTNAME=0123456789ab"},
		{"unset", func(o *Options) { o.UnsetEnv = []string{"LANG", "A"}; o.Env = []string{"A=1"} }, "PATH=/usr/bin:/bin container=coracle A=1 HOSTNAME=0123456789ab HOME=/root"},
		{"unset all", func(o *Options) { o.UnsetEnvAll = true; o.Env = []string{"A=1"} }, "A=1 HOSTNAME=0123456789ab HOME=/root"},
		{"proxy", func(o *Options) { o.Network, o.Hostname = "host", "h" }, "PATH=/usr/bin:/bin container=coracle http_proxy=http://proxy:1 LANG=C.UTF-8 HOSTNAME=h HOME=/root"},
		{"no proxy", func(o *Options) { o.Network, o.Hostname, o.HTTPProxy = "host", "h", ptr(false) }, "PATH=/usr/bin:/bin container=coracle LANG=C.UTF-8 HOSTNAME=h HOME=/root"},
	} {
		res, err := Generate(input(with(c.set)))
		if got := strings.Join(res.Spec.Process.Env, " "); err != nil || got != c.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", c.name, err, got, c.want)
		}
	}
}

func TestCapabilitySets(t *testing.T) {
	short := func(names []string) string {
		if len(names) > 10 {
			return "many"
		}
		return strings.ToLower(strings.ReplaceAll(strings.Join(names, " "), "CAP_", ""))
	}
	for _, c := range []struct {
		name                     string
		set                      func(*Options)
		bounding, effective, amb string
	}{
		{"root", func(*Options) {}, "many", "many", ""},
		{"user", func(o *Options) { o.User = "alice" }, "many", "", ""},
		{"user with one added", func(o *Options) { o.User, o.CapAdd = "alice", []string{"sys_time"} }, "many", "sys_time", "sys_time"},
		{"all dropped", func(o *Options) { o.CapDrop = []string{"all"} }, "", "", ""},
		{"all dropped but one", func(o *Options) { o.CapDrop, o.CapAdd = []string{"ALL"}, []string{"CAP_KILL,chown"} }, "chown kill", "chown kill", ""},
		{"user, all dropped but one", func(o *Options) { o.User, o.CapDrop, o.CapAdd = "7", []string{"ALL"}, []string{"kill"} }, "kill", "kill", "kill"},
		{"all added but most", func(o *Options) { o.CapAdd = []string{"all"}; o.CapDrop = capabilityNames()[2:] }, "chown dac_override", "chown dac_override", ""},
		{"privileged and dropped", func(o *Options) { o.Privileged, o.CapDrop = true, capabilityNames()[1:] }, "chown", "chown", ""},
	} {
		res, err := Generate(input(with(c.set)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		s := res.Spec.Process.Capabilities
		if short(s.Bounding) != c.bounding || short(s.Effective) != c.effective || short(s.Permitted) != c.effective || short(s.Ambient) != c.amb || short(s.Inheritable) != c.amb {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// A kernel that lacks the newest capabilities must not be asked for them.
func TestCapabilitiesOfAnOldKernel(t *testing.T) {
	res, err := Generate(input(func(in *Input) {
		in.Host.(*fakeHost).files["/proc/sys/kernel/cap_last_cap"] = "37\n"
		in.Options.Privileged = true
	}))
	if err != nil || len(res.Spec.Process.Capabilities.Bounding) != 38 {
		t.Errorf("%v: %v", err, res.Spec.Process.Capabilities.Bounding)
	}
	_, err = Generate(input(func(in *Input) {
		in.Host.(*fakeHost).files["/proc/sys/kernel/cap_last_cap"] = "37\n"
		in.Options.CapAdd = []string{"BPF"}
	}))
	refusal(t, err, "this kernel does not have CAP_BPF", "")
}

func TestEtcFiles(t *testing.T) {
	generate := func(f ...func(*Input)) map[string]string {
		t.Helper()
		res, err := Generate(input(f...))
		if err != nil {
			t.Fatal(err)
		}
		files := make(map[string]string)
		for name, data := range res.Files {
			files[name] = string(data)
		}
		return files
	}
	has := func(name string, files map[string]string, file, want string) {
		t.Helper()
		if files[file] != want {
			t.Errorf("%s: %s is %q, want %q", name, file, files[file], want)
		}
	}
	f := generate(with(func(o *Options) { o.NoHosts, o.NoHostname, o.User = true, true, "4242:4343" }))
	has("no hosts", f, "hosts", "")
	has("no hostname", f, "hostname", "")
	has("numeric user", f, "passwd", imagePasswd+"4242:*:4242:4343:container user:/srv:/bin/sh\n")
	has("numeric group", f, "group", imageGroup+"4343:x:4343:4242\n")
	f = generate(with(func(o *Options) { o.User, o.Passwd = "4242", ptr(false) }))
	has("--passwd=false", f, "passwd", "")
	f = generate(with(func(o *Options) {
		o.User, o.PasswdEntry, o.GroupEntry = "4242:4343", "me:x:$UID:$GID:$NAME:$HOME:/bin/zsh", "us:x:$GID:$USERLIST"
	}))
	has("templates", f, "passwd", imagePasswd+"me:x:4242:4343:container user:/srv:/bin/zsh\n")
	has("templates", f, "group", imageGroup+"us:x:4343:4242\n")
	f = generate(with(func(o *Options) { o.HostUsers = []string{"you"} }))
	has("--hostuser", f, "passwd", imagePasswd+"you:*:1001:1001::/srv:/bin/sh\n")
	f = generate(keepID, with(func(o *Options) { o.Volumes = []string{"/home/me:/home/me"} }))
	has("home is mounted", f, "passwd", imagePasswd+"me:*:1002:1002:Me, Myself:/home/me:/bin/sh\n")
	f = generate(with(func(o *Options) { o.Network, o.DNSSearch, o.DNSOption = "host", []string{"."}, []string{"ndots:2"} }))
	has("search and options", f, "resolv.conf", "options ndots:2\nnameserver 127.0.0.53\n")
	f = generate(with(func(o *Options) { o.Network, o.DNS = "host", []string{"none"} }))
	has("dns none", f, "resolv.conf", "")
	f = generate(with(func(o *Options) { o.TZ = "local" }))
	has("tz local", f, "localtime", "TZif2-local")
	f = generate(with(func(o *Options) { o.Mounts = []string{"type=bind,src=data,dst=/etc/passwd"}; o.User = "4242" }))
	has("the user's own passwd", f, "passwd", "")
}

func TestKeepGroups(t *testing.T) {
	res, err := Generate(input(with(func(o *Options) { o.GroupAdd, o.User = []string{"keep-groups"}, "alice" })))
	if err != nil || !res.KeepGroups || res.Spec.Process.User.AdditionalGids != nil || res.Spec.Annotations["run.oci.keep_original_groups"] != "1" {
		t.Errorf("%v %+v", err, res.Spec.Process.User)
	}
}

func TestThermalThrottleIsMasked(t *testing.T) {
	res, err := Generate(input(func(in *Input) {
		f := in.Host.(*fakeHost).files
		for _, p := range []string{"cpu0/thermal_throttle/x", "cpu1/thermal_throttle/x", "cpu2/cache/x", "cpufreq/thermal_throttle/x"} {
			f["/sys/devices/system/cpu/"+p] = ""
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	masked := strings.Join(res.Spec.Linux.MaskedPaths, " ")
	if !strings.Contains(masked, "cpu0/thermal_throttle") || !strings.Contains(masked, "cpu1/thermal_throttle") || strings.Contains(masked, "cpu2") || strings.Contains(masked, "cpufreq") {
		t.Error(masked)
	}
}

func TestUserMountsHideDefaults(t *testing.T) {
	destinations := func(o Options) (all []string) {
		t.Helper()
		res, err := Generate(input(func(in *Input) { in.Options = o }))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range res.Spec.Mounts {
			all = append(all, m.Destination+"="+m.Type)
		}
		return all
	}
	own := destinations(Options{Volumes: []string{"/dev:/dev", "/srv:/dev/shm"}})
	if slices.Contains(own, "/dev/pts=devpts") || slices.Contains(own, "/dev=tmpfs") || !slices.Contains(own, "/dev/shm=bind") || !slices.Contains(own, "/proc=proc") {
		t.Error(own)
	}
	if proc := destinations(Options{Tmpfs: []string{"/proc"}}); slices.Contains(proc, "/proc=proc") {
		t.Error(proc)
	}
	deep := destinations(Options{Volumes: []string{"/srv:/a/b/c", "/srv:/a", "/srv:/a/b"}})
	if slices.Index(deep, "/a=bind") > slices.Index(deep, "/a/b=bind") || slices.Index(deep, "/a/b=bind") > slices.Index(deep, "/a/b/c=bind") {
		t.Error(deep)
	}
}

func TestOverlayPathsAreEscaped(t *testing.T) {
	res, err := Generate(input(func(in *Input) {
		in.Files = `/files,\x`
		in.Options.Mounts = nil
		in.Options.Volumes = []string{"/srv/lib:/x:O"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range res.Spec.Mounts {
		if m.Destination == "/x" && !slices.Contains(m.Options, `upperdir=/files\,\\x/overlay/0/upper`) {
			t.Error(m.Options)
		}
	}
	if got := escapeLower(`/a:b,c\d`); got != `/a\:b\,c\\d` {
		t.Error(got)
	}
}

func TestStopTimeout(t *testing.T) {
	for _, c := range []struct {
		set  *int
		want string
	}{{nil, "10s"}, {ptr(0), "0s"}, {ptr(-1), "-1s"}, {ptr(90), "1m30s"}} {
		res, err := Generate(input(with(func(o *Options) { o.StopTimeout = c.set })))
		if err != nil || res.StopTimeout.String() != c.want {
			t.Errorf("%v: %v %v", c.set, err, res.StopTimeout)
		}
	}
}

// Runtimes obey annotations: what an image calls a label must not become one.
func TestLabelsGiveNoOrders(t *testing.T) {
	res, err := Generate(input(func(in *Input) {
		in.Image.Labels = map[string]string{
			"run.oci.keep_original_groups": "1", "run.oci.hooks.stdout": "/home/me/.bashrc", "org.systemd.property.X": "1", "org.opencontainers.image.title": "ok",
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	for key := range res.Spec.Annotations {
		if !strings.HasPrefix(key, "org.opencontainers.image.") {
			t.Errorf("annotation %s from a label", key)
		}
	}
	if len(res.Labels) != 4 {
		t.Error(res.Labels)
	}
}
